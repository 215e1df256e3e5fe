"""Settings changed on a model are checked by ``learn`` as by the constructor, and take effect or are refused."""

import math
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from sb3_trpo import TRPO
from tests.toys import ToyEnv, parameters, same, snapshot
from tests.vines import VINE

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling": "vines"}, "sampling='vines' is unknown"),
        ({"advantage_estimator": "montecarlo"}, "use one of gae, monte_carlo"),
        ({"gamma": 2.0}, "gamma=2.0 is outside"),
        ({"cg_max_steps": 0}, "cg_max_steps=0 is too small"),
        ({"line_search_max_iter": 2.5}, "line_search_max_iter=2.5 is of type float"),
        ({"target_kl": -1.0}, "target_kl=-1.0 is outside"),
        ({"ent_coef": math.nan}, "ent_coef=nan"),
        ({"learning_rate": "1e-3"}, "learning_rate='1e-3' is of type str"),
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


class Scheduled(BaseCallback):
    """What the message about schedules says."""

    def __init__(self, name: str, values: list[Any]):
        super().__init__()
        self.name, self.values = name, values

    def _on_rollout_start(self) -> None:
        setattr(self.model, self.name, self.values[self.num_timesteps // 32])

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("target_kl", [0.02, 0.001]),
        ("cg_damping", [0.1, 1.0]),
        ("ent_coef", [0.1, 0.0]),
        ("gamma", [0.5, 0.9]),
        ("gae_lambda", [0.2, 0.9]),
        ("n_critic_updates", [3, 1]),
        ("batch_size", [16, 32]),
        ("fisher_sample_fraction", [0.5, 1.0]),
    ],
)
def test_a_callback_changes_a_setting_for_its_rollout_and_update(name: str, values: list[Any]) -> None:
    """Bit for bit what a change between two calls of ``learn`` does, which is checked below."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(64, callback=Scheduled(name, values))
    other = TRPO("MlpPolicy", ToyEnv(), **{**SMALL, name: values[0]}).learn(32)
    setattr(other, name, values[1])
    other.learn(32, reset_num_timesteps=False)
    assert same(parameters(model), parameters(other))
    assert not same(parameters(model), parameters(TRPO("MlpPolicy", ToyEnv(), **{**SMALL, name: values[0]}).learn(64)))


class Quiet(BaseCallback):
    """Takes gSDE's noise away at the start of a rollout."""

    def _on_rollout_start(self) -> None:
        self.model.policy.log_std.data -= 30.0

    def _on_step(self) -> bool:
        return True


def test_parameters_changed_at_a_rollouts_start_act_in_it() -> None:
    """gSDE's noise matrices are drawn from the new standard deviation: actions are the mean ones, to 1e-6."""
    model = TRPO("MlpPolicy", ToyEnv(), use_sde=True, n_critic_updates=0, **SMALL)
    before = snapshot(model)
    model.learn(32, callback=Quiet())
    buffer = model.rollout_buffer
    means, _ = before.predict(buffer.observations[:, 0], deterministic=True)
    np.testing.assert_allclose(buffer.actions[:, 0], means, atol=1e-6)


@pytest.mark.parametrize("value", [lambda progress: 0.01 * progress, LinearSchedule(0.1, 0.01, 0.5), "lin_0.01"])
@pytest.mark.parametrize("name", ["gamma", "fisher_sample_fraction", "n_critic_updates"])
def test_a_schedule_is_answered_with_a_callback(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"{name}=.* is a schedule, .*_on_rollout_start\(self\): self\.model\.{name} = "):
        TRPO("MlpPolicy", ToyEnv(), **{**SMALL, name: value})
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    setattr(model, name, value)
    with pytest.raises(TypeError, match="is a schedule"):
        model.learn(32)


def test_n_steps_is_no_schedule() -> None:
    """And no callback could change it, so that none is advised."""
    with pytest.raises(TypeError, match=r"n_steps=.* is of type function: give a whole number"):
        TRPO("MlpPolicy", ToyEnv(), **{**SMALL, "n_steps": lambda progress: 32})


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
