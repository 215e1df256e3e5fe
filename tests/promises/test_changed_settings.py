"""Settings changed on a model are checked by ``learn`` as by the constructor, and take effect or are refused."""

import math
from typing import Any

import pytest

from sb3_trpo import TRPO
from tests.toys import ToyEnv, parameters, same
from tests.vines import VINE

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling": "vines"}, "sampling='vines' is unknown"),
        ({"advantage_estimator": "montecarlo"}, "use one of gae, monte_carlo"),
        ({"gamma": 2.0}, "gamma=2.0 is outside"),
        ({"cg_max_steps": 0}, "cg_max_steps=0 is too small"),
        ({"line_search_max_iter": 2.5}, "line_search_max_iter=2.5 is a float"),
        ({"target_kl": -1.0}, "target_kl=-1.0 is outside"),
        ({"ent_coef": math.nan}, "ent_coef=nan"),
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3' is a str"),
        ({"n_critic_updates": -1}, "n_critic_updates=-1"),
        ({"vine_kwargs": VINE}, "no effect with sampling"),
        ({"sampling": "vine", "vine_kwargs": {"branch_length": 0}}, "vine_kwargs: branch_length=0"),
        ({"normalize_advantage": "False"}, "give True or False"),
        ({"use_sde": True}, "use_sde=True has no effect"),
        ({"policy_kwargs": {"net_arch": [3]}}, "policy_kwargs=.* has no effect"),
        ({"n_steps": 64}, r"TRPO\.load\(path, env, n_steps=64\)"),
    ],
)
def test_a_wrong_change_is_refused_before_anything_is_learned(changes: dict[str, Any], words: str) -> None:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32)
    before = parameters(model)
    vars(model).update(changes)
    with pytest.raises((ValueError, TypeError), match=words):
        model.learn(32)
    assert same(before, parameters(model))


@pytest.mark.parametrize(("name", "wrong"), [("cg_max_steps", 0), ("gamma", 2.0), ("sampling", "vines")])
def test_train_checks_too(name: str, wrong: Any) -> None:
    """A script with a loop of its own, or a callback, may call it."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32)
    setattr(model, name, wrong)
    with pytest.raises(ValueError, match=name):
        model.train()


@pytest.mark.parametrize("changes", [{"gamma": 0.5}, {"gae_lambda": 0.2}, {"learning_rate": 1e-5}, {"target_kl": 1e-4}])
def test_a_right_change_is_as_good_as_a_new_model(changes: dict[str, Any]) -> None:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    vars(model).update(changes)
    assert same(parameters(model.learn(64)), parameters(TRPO("MlpPolicy", ToyEnv(), **{**SMALL, **changes}).learn(64)))


def test_a_schedule_of_ones_own_stays() -> None:
    """Scripts set ``lr_schedule`` directly."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    model.learning_rate, model.lr_schedule = 1e-4, lambda _: 1e-5
    model.learn(32)
    assert model.policy.optimizer.param_groups[0]["lr"] == 1e-5


@pytest.mark.parametrize(("name", "wrong"), [("sde_sample_freq", -2), ("normalize_advantage", "no"), ("use_sde", "yes")])
def test_the_constructor_checks_what_it_passed_on_before(name: str, wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=name):
        TRPO("MlpPolicy", ToyEnv(), **{**SMALL, name: wrong})
