"""Environments to try saved states with, and what comes of running them."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import find_highest_version

from sb3_trpo.simulators import check_clone, clone_state, restore_state

gym.register_envs(ale_py)


def latest(name: str) -> str:
    """A task with the version that the installed gymnasium has."""
    return f"{name}-v{find_highest_version(None, name)}"


class Walk(gym.Env):
    """A random walk whose observation and reward are its position; subclasses add what may go wrong."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), dtype=np.float64)

    def __init__(self) -> None:
        self.action_space = spaces.Discrete(2)
        self.position = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.position = 0.0
        return np.array([self.position]), {}

    def noise(self) -> float:
        return self.np_random.normal()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.position += float(action) + self.noise()
        return np.array([self.position]), self.position, False, False, {}


def run(env: gym.Env, actions: list[Any]) -> list[float]:
    """Rewards and first observations of a few steps, with resets."""
    numbers = []
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        numbers += [float(reward), float(np.asarray(obs, dtype=np.float64).sum())]
        if terminated or truncated:
            env.reset()
    return numbers


def some_actions(env: gym.Env, count: int = 30) -> list[Any]:
    space = deepcopy(env.action_space)
    space.seed(7)
    return [space.sample() for _ in range(count)]


def game(name: str, **settings: Any) -> gym.Env:
    return gym.make(f"ALE/{name}-v5", **settings)


def frames(name: str) -> gym.Env:
    return game(name, frameskip=1, repeat_action_probability=0.0)


class Toy(Walk):
    """Does something at the start and at every reset."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None: ...

    def renew(self) -> None: ...

    def reset(self, **settings: Any) -> Any:
        result = super().reset(**settings)
        self.renew()
        return result


class Forgetful(Walk):
    """Its own copy has no random state."""

    def clone_state(self) -> float:
        return self.position

    def restore_state(self, state: float) -> None:
        self.position = state


class Own(Forgetful):
    def clone_state(self) -> Any:
        return self.position, deepcopy(self.np_random)

    def restore_state(self, state: Any) -> None:
        self.position, self.np_random = state[0], deepcopy(state[1])


WARM_UP, STEPS = 17, 40


def outputs(env: gym.Env, actions: list[Any]) -> list[Any]:
    """All that comes of some steps, with a reset halfway and where episodes end; clocks left out."""
    seen: list[Any] = []
    for step, action in enumerate(actions):
        found: tuple[Any, ...] = env.step(action)
        if found[2] or found[3] or step == len(actions) // 2:
            found = (*found, *env.reset())
        plain = [{key: part for key, part in x.items() if key != "episode"} if type(x) is dict else x for x in found]
        seen.append(deepcopy(plain))
    return seen


def assert_exact(make: Callable[[], gym.Env], new: bool = True) -> None:
    """Whatever follows a saved state follows it again, wherever it is restored; saving disturbs nothing."""
    source, twin, dirty = make(), make(), make()
    space = deepcopy(source.action_space)
    space.seed(5)
    actions = [space.sample() for _ in range(WARM_UP + STEPS)]
    for env in (source, twin):
        env.reset(seed=3)
        outputs(env, actions[:WARM_UP])
    dirty.reset(seed=99)
    outputs(dirty, actions[WARM_UP : WARM_UP + 11])
    token = clone_state(source)
    data = pickle.dumps(token)
    expected = outputs(twin, actions[WARM_UP:])
    np.testing.assert_equal(outputs(source, actions[WARM_UP:]), expected, "the source")
    for env, state in ((dirty, token), (source, token), (source, pickle.loads(data)), (dirty, token)):
        restore_state(env, state)
        np.testing.assert_equal(outputs(env, actions[WARM_UP:]), expected)
    if new:
        env = make()
        restore_state(env, pickle.loads(data))
        np.testing.assert_equal(outputs(env, actions[WARM_UP:]), expected, "an instance that was never reset")
    assert pickle.dumps(pickle.loads(pickle.dumps(token))) == pickle.dumps(pickle.loads(data)), "the token"


def assert_saved_and_copied(make: Callable[[], gym.Env]) -> None:
    """Saved states are exact, and so are copies of the environment."""
    assert_exact(make)
    report = check_clone(make(), n_steps=30)
    assert report.exact, report
