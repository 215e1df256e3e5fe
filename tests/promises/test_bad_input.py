"""Wrong arguments are refused in words that name the fix; values that are not numbers never reach the parameters."""

import math
import pickle
import re
import warnings
from inspect import signature
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from stable_baselines3.sac.policies import SACPolicy

from sb3_trpo import TRPO
from sb3_trpo.arguments import OF_OTHERS, OF_PPO
from tests.toys import DICT_OBSERVATIONS, ToyEnv, parameters, same

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


class Own(FlattenExtractor):
    """Not SB3's: the policy is called at every step."""


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"target_kl": 0.0}, ValueError, "target_kl=0.0 is outside"),
        ({"target_kl": -0.01}, ValueError, "target_kl=-0.01 is outside"),
        ({"target_kl": math.inf}, ValueError, "target_kl=inf is outside"),
        ({"target_kl": math.nan}, ValueError, "target_kl=nan is outside"),
        ({"target_kl": lambda progress: -progress}, ValueError, "target_kl(1.=-1.0 is outside"),
        ({"ent_coef": lambda progress: None}, TypeError, "ent_coef(1.=None is of type NoneType"),
        ({"gamma": lambda progress: progress}, TypeError, "gamma=.* is a schedule"),
        ({"target_kl": "0.01"}, TypeError, "target_kl='0.01' is of type str"),
        ({"learning_rate": "lin_0.001"}, TypeError, "learning_rate='lin_0.001' is of type str: give a number, or a function"),
        ({"target_kl": True}, TypeError, "target_kl=True is of type bool"),
        ({"target_kl": None}, TypeError, "target_kl=None is of type NoneType: give a number, or a function"),
        ({"learning_rate": lambda progress: -progress}, ValueError, "learning_rate(1.=-1.0 is outside"),
        ({"seed": "a"}, TypeError, "seed='a' is of type str: give a whole number"),
        ({"seed": 1.5}, TypeError, "seed=1.5 is of type float"),
        ({"seed": -1}, ValueError, "seed=-1 is too small"),
        ({"ent_coef": math.nan}, ValueError, "ent_coef=nan"),
        ({"ent_coef": math.inf}, ValueError, "ent_coef=inf"),
        ({"cg_damping": -0.1}, ValueError, "cg_damping=-0.1"),
        ({"cg_max_steps": 0}, ValueError, "cg_max_steps=0 is too small"),
        ({"line_search_shrinking_factor": 0.0}, ValueError, "line_search_shrinking_factor=0.0"),
        ({"line_search_shrinking_factor": 1.0}, ValueError, "line_search_shrinking_factor=1.0"),
        ({"line_search_max_iter": 0}, ValueError, "line_search_max_iter=0"),
        ({"n_steps": 0}, ValueError, "n_steps=0"),
        ({"n_steps": 32.0}, TypeError, "n_steps=32.0 is of type float"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"n_critic_updates": -1}, ValueError, "n_critic_updates=-1"),
        ({"sub_sampling_factor": 0}, ValueError, "sub_sampling_factor=0"),
        ({"stats_window_size": 0}, ValueError, "stats_window_size=0"),
        ({"fisher_sample_fraction": 0.0}, ValueError, "fisher_sample_fraction=0.0"),
        ({"fisher_sample_fraction": 1.1}, ValueError, "fisher_sample_fraction=1.1"),
        ({"gamma": 1.1}, ValueError, "gamma=1.1"),
        ({"gamma": -0.1}, ValueError, "gamma=-0.1"),
        ({"gae_lambda": 2}, ValueError, "gae_lambda=2"),
        ({"learning_rate": -1e-3}, ValueError, "learning_rate=-0.001"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate=nan"),
        ({"advantage_estimator": "td"}, ValueError, "use one of gae, monte_carlo"),
        ({"n_steps": 1, "batch_size": 1}, ValueError, "raise n_steps, or set normalize_advantage=False"),
        ({"sub_sampling_factor": 32}, ValueError, "leaves one sample"),
        ({"policy_kwargs": {"squash_output": True}}, ValueError, "needs use_sde=True"),
        ({"policy_kwargs": "dict()"}, TypeError, "give a dict"),
        ({"clip_range": 0.2}, TypeError, "use target_kl"),
        ({"clip_range_vf": 0.2}, TypeError, "n_critic_updates"),
        ({"n_epochs": 10}, TypeError, "n_critic_updates"),
        ({"vf_coef": 0.5}, TypeError, "use learning_rate"),
        ({"max_grad_norm": 0.5}, TypeError, "use target_kl"),
        ({"traget_kl": 0.01}, TypeError, "no argument traget_kl=0.01: did you mean target_kl?"),
        ({"polcy_kwargs": {}}, TypeError, "did you mean policy_kwargs?"),
        (
            {"max_kl": 0.1, "vf_iters": 3},
            TypeError,
            "max_kl=0.1: it is target_kl here.\nTRPO has no argument vf_iters=3: it is",
        ),
        ({"n_epochs": 4, "clip_range": 0.2}, TypeError, "clip_range=0.2: .*\n.* learning_rate is the critic's alone"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    """Each wrong argument is named with its value and what to do."""
    with pytest.raises(error, match=words.replace("(", r"\(").replace("?", r"\?")):
        TRPO("MlpPolicy", ToyEnv(), **{**SMALL, **arguments})


def test_other_names_of_arguments() -> None:
    """Each leads to an argument that there is, and is none itself."""
    known = signature(TRPO).parameters
    for name, advice in OF_OTHERS.items():
        found = re.match(r"it is (\w+) here", advice)
        assert name not in known and (found is None or found[1] in known)
    assert not OF_PPO.keys() & known


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), "flatten a Tuple or Dict"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "flatten a Tuple or Dict"),
        (spaces.Box(-np.inf, np.inf, (2,)), "infinite bound"),
        (spaces.MultiBinary((2, 2)), "more than one dimension"),
        (spaces.MultiDiscrete([[2, 3], [2, 2]]), "more than one dimension"),
        (spaces.Discrete(3, start=1), "do not begin at 0"),
        (spaces.MultiDiscrete([2, 3], start=[0, -1]), "do not begin at 0"),
    ],
)
def test_unsupported_action_spaces(space: spaces.Space, words: str) -> None:
    """A space no distribution covers is refused before anything is built."""
    with pytest.raises(ValueError, match=words):
        TRPO("MlpPolicy", ToyEnv(space), **SMALL)


def test_a_deviation_that_is_too_large_is_named() -> None:
    model = TRPO("MlpPolicy", ToyEnv(spaces.Box(-1.0, 1.0, (2,))), policy_kwargs={"log_std_init": 100.0}, **SMALL)
    before = parameters(model)
    with pytest.warns(RuntimeWarning, match=r"actions is .* at step 0 .*log_std_init"):
        model.learn(32)
    assert same(before, parameters(model))


def test_the_advice_for_infinite_bounds_is_followed() -> None:
    env = ToyEnv(spaces.Box(-np.inf, 1.0, (2,)))
    with pytest.raises(ValueError, match="infinite bound") as refusal:
        TRPO("MlpPolicy", env, **SMALL)
    (advice,) = re.findall(r"gymnasium\.wrappers\.(.*)\.$", str(refusal.value))
    bounded = eval(advice, {"TransformAction": gym.wrappers.TransformAction, "env": env, "Box": spaces.Box})
    TRPO("MlpPolicy", bounded, **SMALL).learn(64)


def test_a_wrapper_that_has_lost_its_environments_is_named() -> None:
    """VecNormalize leaves them behind when it is pickled; they can be given back."""
    model = pickle.loads(pickle.dumps(TRPO("MlpPolicy", VecNormalize(DummyVecEnv([ToyEnv])), **SMALL).learn(32)))
    with pytest.raises(ValueError, match=r"VecNormalize has no environments inside.*set_venv"):
        model.learn(32)
    model.env.set_venv(DummyVecEnv([ToyEnv]))
    assert model.learn(32).num_timesteps == 32


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("MlpLstmPolicy", "policy='MlpLstmPolicy' is unknown: use one of MlpPolicy, .*those of sb3_trpo.RecurrentTRPO"),
        (SACPolicy, "derived from stable_baselines3.common.policies.ActorCriticPolicy, not SACPolicy: use MlpPolicy, "),
        (int, "not int"),
        (lambda *arguments: None, "not <lambda>"),
    ],
)
def test_policies_of_another_kind(policy: Any, words: str) -> None:
    """They are refused before anything is built."""
    with pytest.raises(ValueError, match=words):
        TRPO(policy, ToyEnv(), **SMALL)


def test_not_an_environment() -> None:
    """A class instead of an instance: SB3 says what is wrong."""
    with pytest.raises(ValueError, match="not a Gymnasium environment"):
        TRPO("MlpPolicy", ToyEnv)


def test_any_integral_type_counts() -> None:
    """NumPy's integers are as good as Python's, and n_critic_updates may be 0."""
    model = TRPO("MlpPolicy", ToyEnv(), n_steps=np.int64(32), batch_size=np.int32(32), n_critic_updates=0, device="cpu")
    assert model.learn(32).num_timesteps == 32


def test_truncated_minibatch_warns() -> None:
    """As sb3-contrib does."""
    with pytest.warns(UserWarning, match="the last minibatch of every pass has 8 steps"):
        TRPO("MlpPolicy", ToyEnv(), n_steps=32, batch_size=12, device="cpu")


def test_load_checks_what_it_is_given(tmp_path: Any) -> None:
    """``load`` writes its arguments straight into the model; they are checked all the same."""
    TRPO("MlpPolicy", ToyEnv(), **SMALL).save(tmp_path / "model")
    with pytest.raises(ValueError, match="target_kl=-1"):
        TRPO.load(tmp_path / "model", target_kl=-1)


def _survives(model: TRPO, words: str) -> None:
    """One update on a spoilt rollout: bit-identical networks, one warning with ``words``, a reason in the log."""
    before, optimizer = parameters(model), str(model.policy.optimizer.state_dict())
    with pytest.warns(RuntimeWarning, match=words):
        model.learn(model.n_steps * model.n_envs, reset_num_timesteps=False)
    assert same(before, parameters(model))
    assert str(model.policy.optimizer.state_dict()) == optimizer
    assert model.last_update["train/status"] == "rollout not finite"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("what", "key"), [("observation", "observations"), ("reward", "rewards")])
def test_spoilt_rollout(what: str, key: str, value: float) -> None:
    """NaN or infinity in observations or rewards of the second environment: named, refused, and the next rollout learns."""
    step = 37  # of that environment: the sixth of the second rollout
    env = DummyVecEnv([ToyEnv, lambda: ToyEnv(faults={step: (what, value)})])
    model = TRPO("MlpPolicy", env, **SMALL).learn(64)
    at = 5 if what == "observation" else 4
    _survives(model, rf"{key} is {value} at step {at} of the rollout in environment 1")
    before = parameters(model)
    model.learn(64, reset_num_timesteps=False)
    assert model.last_update["train/status"] == "ok"
    assert not same(before, parameters(model))


def test_a_learning_rate_that_becomes_negative() -> None:
    """Refused at the update where it does, before anything changes: the critic would climb its loss."""
    model = TRPO("MlpPolicy", ToyEnv(), **{**SMALL, "learning_rate": lambda progress: progress - 0.6})
    found: list[np.ndarray] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            found.append(parameters(self.model))

    with pytest.raises(ValueError, match=r"learning_rate\(0.5\)=-0.0999.* is outside"):
        model.learn(2 * SMALL["n_steps"], callback=Watch())
    assert len(found) == 1 and same(found[0], parameters(model))


def test_spoilt_dict_observation_is_named_by_its_key() -> None:
    """The key of a Dict observation is part of the message; SB3's step-by-step collection survives as well."""
    env = ToyEnv(spaces.Discrete(3), DICT_OBSERVATIONS, faults={5: ("observation", math.nan)})
    _survives(TRPO("MultiInputPolicy", env, **SMALL), r"observations\['vector'\] is nan at step 5 .* environment 0")


class SpoiltOnce(ToyEnv):
    """One observation is not finite, but the reset that may follow it is."""

    def __init__(self, value: float, step: int):
        super().__init__()
        self.value, self.step_of_it = value, step

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, *rest = super().step(action)
        return (obs * self.value if self.total_steps == self.step_of_it else obs, *rest)


@pytest.mark.parametrize("extractor", [FlattenExtractor, Own], ids=["deferred", "at every step"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("step", "words"), [(20, "rewards is nan at step 19 .* time limit"), (32, "observations is (nan|-?inf) at step 32")]
)
def test_spoilt_observation_that_is_in_no_buffer(extractor: type, value: float, step: int, words: str) -> None:
    """The last of an episode that a time limit ends, and of a rollout: Tanh would make values of infinity."""
    kwargs = {**SMALL, "policy_kwargs": {"features_extractor_class": extractor}}
    _survives(TRPO("MlpPolicy", SpoiltOnce(value, step), **kwargs), words)


@pytest.mark.parametrize("array", ["advantages", "log_probs", "returns"])
def test_spoilt_buffer(array: str) -> None:
    """Whatever in the buffer is not a number, nothing is learned from it."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32)
    getattr(model.rollout_buffer, array)[3, 0] = math.nan
    before = parameters(model)
    with pytest.warns(RuntimeWarning, match=f"{array} is nan at step 3"):
        model.train()
    assert same(before, parameters(model))


def test_warned_once() -> None:
    """A fault that comes back is logged every time and warned about the first time."""
    model = TRPO("MlpPolicy", ToyEnv(faults={step: ("reward", math.nan) for step in range(1, 200)}), **SMALL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(96)
    assert len([warning for warning in caught if "skipped" in str(warning.message)]) == 1
    assert model.num_timesteps == 96


@pytest.mark.parametrize("value", [1e38, -1e38, 1e30, 1e22])
@pytest.mark.parametrize("estimator", ["gae", "monte_carlo"])
def test_advantages_that_overflow(value: float, estimator: str) -> None:
    """A finite reward too large for a standard deviation in float32: named, networks and optimizer untouched."""
    env = DummyVecEnv([ToyEnv, lambda: ToyEnv(faults={37: ("reward", value)})])
    model = TRPO("MlpPolicy", env, advantage_estimator=estimator, **SMALL).learn(64)
    _survives(model, r"rewards is .*e\+\d+ at step 4 of the rollout in environment 1.*deviation.*overflows")
    model.learn(64, reset_num_timesteps=False)
    assert model.last_update["train/status"] == "ok"


class _Explosive(th.autograd.Function):
    """Identity with a gradient that is not a number."""

    @staticmethod
    def forward(ctx: Any, x: th.Tensor) -> th.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: th.Tensor) -> th.Tensor:
        return gradient * math.nan


def test_spoilt_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that is NaN although the data are finite: actor and critic stay bit-identical, reason and warning given."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32)
    before = parameters(model)
    forward = model.policy.action_net.forward
    monkeypatch.setattr(model.policy.action_net, "forward", lambda x: _Explosive.apply(forward(x)))
    with pytest.warns(RuntimeWarning, match="skipped.*objective is not finite.*VecNormalize"):
        model.train()
    assert same(before, parameters(model))
    assert model.last_update["train/status"] == "not finite"


def test_spoilt_critic_is_undone() -> None:
    """A critic that runs off to infinity is put back, optimizer state included; the policy's step stands."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32)
    before = parameters(model)
    optimizer = str(model.policy.optimizer.state_dict()["state"])
    model.lr_schedule = lambda _: math.inf
    with pytest.warns(RuntimeWarning, match="critic's fit ended in NaN"):
        model.train()
    after = parameters(model)
    assert same({k: v for k, v in before.items() if "value" in k}, {k: v for k, v in after.items() if "value" in k})
    assert str(model.policy.optimizer.state_dict()["state"]) == optimizer
    log = model.last_update
    assert log["train/critic_status"] == "not finite" and log["train/status"] == "ok"
    assert not th.equal(before["action_net.weight"], after["action_net.weight"])


def test_spoilt_running_statistics() -> None:
    """VecNormalize's statistics never recover from a NaN: an error that says so and what to do."""
    env = VecNormalize(DummyVecEnv([lambda: ToyEnv(faults={5: ("observation", math.nan)})]))
    with pytest.raises(ValueError, match=r"VecNormalize.obs_rms are no longer finite.*VecNormalize\.load"):
        TRPO("MlpPolicy", env, **SMALL).learn(32)


def test_env_by_name_and_instance_agree() -> None:
    """An id, an env and a VecEnv are all environments."""
    for env in ("CartPole-v1", gym.make("CartPole-v1"), DummyVecEnv([lambda: gym.make("CartPole-v1")])):
        assert TRPO("MlpPolicy", env, **SMALL).learn(32).num_timesteps == 32


def test_unused_running_statistics_may_be_spoilt() -> None:
    """Without reward normalisation nothing depends on the returns' statistics: a NaN reward costs one update, no more."""
    env = VecNormalize(DummyVecEnv([lambda: ToyEnv(faults={5: ("reward", math.nan)})]), norm_reward=False)
    model = TRPO("MlpPolicy", env, **SMALL)
    with pytest.warns(RuntimeWarning, match="rewards is nan at step 4"):
        model.learn(32)
    model.learn(32, reset_num_timesteps=False)
    assert model.last_update["train/status"] == "ok"


def test_frozen_actor() -> None:
    """Nothing to train is an error that says so."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    model.policy.requires_grad_(False)
    with pytest.raises(ValueError, match="set requires_grad"):
        model.learn(32)


@pytest.mark.parametrize("sampling", ["single_path", "vine"])
@pytest.mark.parametrize("mode", [th.no_grad, th.inference_mode])
def test_learning_does_not_depend_on_the_callers_gradient_mode(mode: Any, sampling: str) -> None:
    """A script that has turned gradients off trains as usual, and gradients are still off afterwards."""
    settings = {**SMALL, "sampling": sampling, "vine_kwargs": {"n_states": 4} if sampling == "vine" else None}
    model = TRPO("MlpPolicy", ToyEnv(), **settings).learn(64)
    with mode():
        other = TRPO("MlpPolicy", ToyEnv(), **settings).learn(64)
        assert not th.is_grad_enabled() and same(parameters(model), parameters(other))
        other.train()


def test_no_environment_is_refused(tmp_path: Path) -> None:
    """In words, where Stable-Baselines3 ends in another error; a file can be loaded without one, but not trained."""
    with pytest.raises(ValueError, match=r"env=None.*TRPO\.load"):
        TRPO("MlpPolicy", None)
    TRPO("MlpPolicy", ToyEnv(), **SMALL).save(tmp_path / "model")
    loaded = TRPO.load(tmp_path / "model")
    assert loaded.env is None
    with pytest.raises(ValueError, match=r"without environments.*set_env"):
        loaded.learn(64)
    loaded.set_env(ToyEnv())
    loaded.learn(64)


@pytest.mark.parametrize("space", [spaces.Discrete(1), spaces.MultiDiscrete([1, 1])])
def test_a_vine_in_a_space_of_one_action_says_nothing_of_something_else(space: spaces.Space) -> None:
    """There is nothing to learn: a zero gradient, and no warning of a standard deviation."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = TRPO("MlpPolicy", ToyEnv(space), sampling="vine", vine_kwargs={"n_states": 4}, **SMALL).learn(256)
    assert model.last_update["train/status"] == "zero gradient"
    assert model.logger.name_to_value["rollout/branch_value_std"] == 0.0
