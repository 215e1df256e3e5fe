"""An environment's attributes: what it says of itself, and containers that belong to an environment inside."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest

from sb3_trpo.simulators import copy_env
from tests.simulator_toys import Own, Toy, Walk, assert_saved_and_copied


class Saying(Toy):
    """Changes what it says of itself, and goes by it."""

    def begin(self) -> None:
        self.metadata = {"render_modes": ["human"], "render_fps": 5, "level": [0.0]}
        self.render_mode = None

    def renew(self) -> None:
        self.metadata["level"][0] += 1.0
        self.render_mode = ("human", "ansi")[self.np_random.integers(2)]
        if self.spec is not None:
            self.spec.max_episode_steps = int(self.np_random.integers(5, 50))
            self.spec.kwargs["levels"] = [int(self.np_random.integers(9))]

    def noise(self) -> float:
        self.metadata["level"][0] += 0.5
        self.metadata["render_fps"] += 1
        spec = 0.0 if self.spec is None else self.spec.max_episode_steps + 100.0 * self.spec.kwargs["levels"][0]
        return self.metadata["level"][0] + self.metadata["render_fps"] + len(self.render_mode or "") + spec


def specified(**settings: Any) -> gym.Env:
    name = "Saying-v0"
    gym.registry.pop(name, None)
    gym.register(name, entry_point=lambda **kwargs: Saying(), **settings)
    return gym.make(name, disable_env_checker=True, levels=[3])


class Renaming(gym.Wrapper):
    """A wrapper with metadata and a specification of its own."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.metadata = {"count": 0}

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        self.metadata["count"] += 1
        if self.spec is not None:
            self.spec.reward_threshold = (self.spec.reward_threshold or 0.0) + reward
            reward += self.spec.reward_threshold
        return obs, reward + self.metadata["count"], *rest


class OwnLists(Own):
    """Copies its state itself, a list and a dict included."""

    def __init__(self) -> None:
        super().__init__()
        self.list, self.table = [0.0], {"a": {"b": 0.0}}

    def noise(self) -> float:
        self.list[0] += self.np_random.normal()
        self.table["a"]["b"] += 1.0
        return 0.0

    def clone_state(self) -> Any:
        return super().clone_state(), self.list[0], self.table["a"]["b"]

    def restore_state(self, state: Any) -> None:
        super().restore_state(state[0])
        self.list[0], self.table["a"]["b"] = state[1:]


class ListeningToLists(gym.Wrapper):
    """Holds containers of an environment that copies itself."""

    def __init__(self) -> None:
        super().__init__(OwnLists())
        self.heard, self.table = [self.unwrapped.list], self.unwrapped.table

    def step(self, action: int) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, reward + self.heard[0][0] + self.table["a"]["b"], *rest


ENVIRONMENTS: dict[str, Callable[[], gym.Env]] = {
    "containers of another's": ListeningToLists,
    "metadata": Saying,
    "specification": specified,
    "a wrapper's metadata": lambda: Renaming(Walk()),
    "a wrapper's specification": lambda: Renaming(specified()),
}


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_nothing_of_an_attribute_is_lost(name):
    assert_saved_and_copied(ENVIRONMENTS[name])


def test_a_copy_keeps_how_its_original_was_made():
    env = specified()
    copy = copy_env(env)
    assert copy.unwrapped.spec == env.unwrapped.spec and copy.unwrapped.spec is not env.unwrapped.spec
