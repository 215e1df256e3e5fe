"""What cannot be copied whole is refused, and named."""

import mmap
import socket
import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.utils import EzPickle
from stable_baselines3.common.monitor import Monitor

from sb3_trpo.simulators import CannotCloneError, check_clone, clone_state, restore_state
from tests.simulator_toys import Walk, game


class Holding(Walk):
    def __init__(self, thing: Any):
        super().__init__()
        self.thing = thing


class Nested:
    def __init__(self, thing: Any):
        self.thing = thing


class Picky(EzPickle):
    def __init__(self) -> None:
        EzPickle.__init__(self)
        self.state = 3


class Remade(Walk, EzPickle):
    def __init__(self) -> None:
        Walk.__init__(self)
        EzPickle.__init__(self)


class Slotted(Walk):
    __slots__ = ("secret",)


def collecting(reward: float, seen: list[float] = []) -> float:  # noqa: B006 (that is the point)
    seen.append(reward)
    return len(seen)


THINGS = {
    "generator": lambda: (number for number in range(3)),
    "thread": lambda: threading.Thread(target=print),
    "lock": threading.Lock,
    "socket": socket.socket,
    "file": lambda: open(__file__),
    "pickles itself": Picky,
    "inner function": lambda: [lambda: 3],
    "view of foreign memory": lambda: np.frombuffer(mmap.mmap(-1, 64), dtype=np.uint8),
    "views of MuJoCo's memory": lambda: [gym.make("Hopper-v5").unwrapped.data.qpos],
    "simulator in a list": lambda: [gym.make("Hopper-v5").unwrapped.data],
}


@pytest.mark.parametrize("thing", list(THINGS))
@pytest.mark.parametrize("nested", [False, True])
def test_what_cannot_be_copied_is_refused_by_name(thing, nested):
    held = THINGS[thing]()
    env = wrappers.TimeLimit(Holding(Nested(held) if nested else held), 10)
    env.reset(seed=0)
    with pytest.raises(CannotCloneError) as error:
        clone_state(env)
    assert isinstance(error.value, ValueError)
    for part in ("Holding.thing", "clone_state()", "restore_state(token)", "check_clone"):
        assert part in str(error.value)
    if hasattr(held, "close"):
        held.close()


@pytest.mark.parametrize(
    ("env", "name"),
    [
        (Remade, "Remade"),
        (Slotted, "Slotted"),
        (lambda: gym.make("LunarLander-v3"), "LunarLander"),
        (lambda: gym.make("BipedalWalker-v3"), "BipedalWalker"),
        (lambda: wrappers.TransformReward(Walk(), collecting), "TransformReward.func.*collecting"),
    ],
)
def test_environments_with_state_elsewhere_are_refused(env, name):
    with pytest.raises(CannotCloneError, match=name) as error:
        check_clone(env())
    assert "clone_state()" in str(error.value)


def test_ales_sticky_actions_without_a_frame_limit_are_refused():
    env = game("Pong", max_num_frames_per_episode=None)
    env.reset(seed=0)
    with pytest.raises(CannotCloneError, match="StickyActionEnv"):
        clone_state(env)


def test_a_state_goes_into_an_environment_built_the_same_way_only():
    state = clone_state(Monitor(gym.make("Hopper-v5")))
    with pytest.raises(ValueError, match="build both environments the same way"):
        restore_state(gym.make("Hopper-v5"), state)
    with pytest.raises(TypeError, match="clone_rows"):
        clone_state("Hopper-v5")
