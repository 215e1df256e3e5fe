"""What check_clone finds: copies that are not copies, and how it compares."""

import time
from copy import deepcopy
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor

from sb3_trpo.simulators import CannotCloneError, check_clone, copy_env
from tests.simulator_toys import Forgetful, Walk


class Global(Walk):
    def noise(self) -> float:
        return np.random.normal()


class Shared(Walk):
    steps: list[int] = []  # noqa: RUF012 (that is the point)

    def noise(self) -> float:
        self.steps.append(1)
        return float(len(self.steps))


class PositionsOnly(gym.Wrapper):
    """What many take for the state of MuJoCo."""

    def clone_state(self) -> Any:
        data = self.unwrapped.data
        return data.qpos.copy(), data.qvel.copy(), deepcopy(self.unwrapped.np_random), self.env._elapsed_steps

    def restore_state(self, state: Any) -> None:
        self.unwrapped.set_state(state[0], state[1])
        self.unwrapped.np_random, self.env._elapsed_steps = deepcopy(state[2]), state[3]
        self.env.env._has_reset = True


@pytest.mark.parametrize(
    ("env", "where"),
    [
        (Global, "observation at step 0 in a new instance"),
        (Shared, "observation at step 0 in a new instance"),
        (Forgetful, "observation at step 0 in another instance"),
        (lambda: PositionsOnly(gym.make("Ant-v5")), "at step 0 in a new instance"),
    ],
)
def test_a_copy_that_is_not_exact_is_reported(env, where):
    report = check_clone(env())
    assert not report.exact
    assert report.difference.endswith(where)
    assert "NOT exact" in str(report)


class AfterReset(Walk):
    """Differs from one instance to the next, but only once it is reset."""

    made: list[int] = []  # noqa: RUF012 (that is the point)

    def reset(self, **settings: Any) -> Any:
        self.made.append(1)
        return super().reset(**settings)[0] + len(self.made), {}


class Telling(Walk):
    """Puts something in its infos."""

    def __init__(self, info: Any):
        super().__init__()
        self.info = info

    def step(self, action: int) -> Any:
        return *super().step(action)[:-1], {"info": self.info(self)}


def test_what_differs_after_a_reset_is_reported():
    report = check_clone(AfterReset(), n_steps=10)
    assert report.difference is not None and report.difference.startswith("observation after reset at step 4")


COUNT: list[int] = []


def narrowing(env: gym.Env) -> Any:
    COUNT.append(1)
    return np.zeros(1, dtype=np.float32 if len(COUNT) > 40 else np.float64)


INFOS = {
    "dtype": (narrowing, False),
    "tensor": (lambda env: torch.ones(3), True),
    "array of objects": (lambda env: np.array([None, {"a": 1}], dtype=object), True),
    "function": (lambda env: lambda: 3, False),
    "iterator": (lambda env: iter([1]), False),
}


@pytest.mark.parametrize("info", list(INFOS))
def test_infos_may_be_anything(info):
    function, exact = INFOS[info]
    assert check_clone(Telling(function), n_steps=30, warm_up=0).exact == exact


def test_the_environment_is_left_in_the_state_that_was_saved():
    env, twin = Walk(), Walk()
    check_clone(env, warm_up=0, seed=2)
    twin.reset(seed=2)
    assert env.step(1)[1] == twin.step(1)[1]


def test_a_strict_monitor_may_be_checked():
    """SB3's Monitor can forbid resets within an episode, which the check needs."""
    env = Monitor(gym.make("Pendulum-v1"), allow_early_resets=False)
    assert check_clone(env, n_steps=30).exact and check_clone(env, copy_env(env), n_steps=30).exact
    assert not env.allow_early_resets


def test_infos_may_be_left_out():
    assert not check_clone(Telling(lambda env: time.perf_counter()), n_steps=10).exact
    assert check_clone(Telling(lambda env: time.perf_counter()), n_steps=10, infos=False).exact


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="at least one step"):
        check_clone(Walk(), n_steps=0)
    with pytest.raises(ValueError, match="same layers"):
        check_clone(Walk(), Monitor(Walk()))


class Remote(gym.Env):
    """A handle for a simulator that lives elsewhere, with methods of its own."""

    observation_space, action_space = spaces.Box(-np.inf, np.inf, (1,)), spaces.Discrete(2)
    simulators: ClassVar[list[list[float]]] = []

    def __init__(self) -> None:
        self.handle = len(self.simulators)
        self.simulators.append([0.0])

    def reset(self, **settings: Any) -> Any:
        super().reset(**settings)
        self.simulators[self.handle][0] = 0.0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: int) -> Any:
        self.simulators[self.handle][0] += 2.0 * action - 1.0
        return np.array(self.simulators[self.handle], dtype=np.float32), 0.0, False, False, {}

    def clone_state(self) -> Any:
        return list(self.simulators[self.handle])

    def restore_state(self, state: Any) -> None:
        self.simulators[self.handle][:] = state


class Locked(Remote):
    """Cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot pickle '_thread.lock' object")


def test_copies_that_share_their_simulator_are_found():
    assert "while another instance was stepped" in str(check_clone(Remote()).difference)
    assert check_clone(Remote(), Remote()).exact


def test_environments_of_their_own_that_cannot_be_copied():
    with pytest.raises(CannotCloneError, match=r"Locked.*__deepcopy__"):
        check_clone(Locked())
