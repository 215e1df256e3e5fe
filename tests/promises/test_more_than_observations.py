"""TRPO uses neither masks nor recurrent states: environments with masks, and policies that need either, are told what does."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_trpo import TRPO
from tests.toys import ToyEnv

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


def plain() -> gym.Env:
    return ToyEnv(spaces.Discrete(3))


class Masked(ToyEnv):
    def action_masks(self) -> np.ndarray:
        return np.array([True, False, True])


def own() -> gym.Env:
    return Masked(spaces.Discrete(3))


def masker() -> gym.Env:
    return Monitor(ActionMasker(plain(), lambda env: np.array([True, False, True])))


@pytest.mark.parametrize(
    "make",
    [
        own,
        masker,
        lambda: DummyVecEnv([own, own]),
        lambda: VecNormalize(DummyVecEnv([masker])),
        lambda: SubprocVecEnv([masker] * 2, start_method="fork"),
    ],
    ids=["method", "masker", "dummy", "normalised", "processes"],
)
def test_masks_are_said_to_be_ignored(make: Any, tmp_path: Any) -> None:
    """At construction, by set_env and by load, once each."""
    env = make()
    with pytest.warns(UserWarning, match=r"sb3_trpo\.MaskableTRPO") as caught:
        model = TRPO("MlpPolicy", env, **SMALL)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"sb3_trpo\.MaskableTRPO"):
        model.set_env(model.get_env())
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match=r"sb3_trpo\.MaskableTRPO"):
        TRPO.load(tmp_path / "model", model.get_env())
    model.get_env().close()


class Mute(DummyVecEnv):
    """As adapters of other libraries' environments are."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "action_masks":
            raise NotImplementedError(attr_name)
        return super().get_attr(attr_name, indices)


def test_nothing_is_said_without_masks() -> None:
    """Nor where an environment cannot be asked, and the processes of those that can go on."""
    processes = SubprocVecEnv([plain] * 2, start_method="fork")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for env in (plain(), DummyVecEnv([plain]), Mute([plain]), processes):
                assert TRPO("MlpPolicy", env, **SMALL).learn(1).num_timesteps
    finally:
        processes.close()


class LikeMaskable(ActorCriticPolicy):
    def get_distribution(self, obs: Any, action_masks: Any = None) -> Any:
        return super().get_distribution(obs)


class LikeRecurrent(ActorCriticPolicy):
    def forward(self, obs: Any, lstm_states: Any = None, deterministic: bool = False) -> Any:
        return super().forward(obs, deterministic)


class NeedsGoal(ActorCriticPolicy):
    def get_distribution(self, obs: Any, goal: Any) -> Any:  # type: ignore[override]
        return super().get_distribution(obs)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (RecurrentActorCriticPolicy, "takes lstm_states .*RecurrentTRPO"),
        (MaskableActorCriticPolicy, "takes action_masks .*MaskableTRPO"),
        (type("Heir", (MaskableActorCriticPolicy,), {}), "Heir takes action_masks"),
        (LikeMaskable, "takes action_masks .* in get_distribution"),
        (LikeRecurrent, "takes lstm_states .* in forward"),
        (NeedsGoal, "takes goal"),
    ],
)
def test_policies_that_need_more_are_refused(policy: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TRPO(policy, plain(), **SMALL)


class WithOptions(ActorCriticPolicy):
    def forward(self, obs: Any, deterministic: bool = False, *, debug: bool = False, **more: Any) -> Any:
        return super().forward(obs, deterministic)


def test_policies_with_options_are_not() -> None:
    assert TRPO(WithOptions, plain(), **SMALL).learn(1).num_timesteps == 32
