"""What cannot be copied whole is refused, and named."""

import copyreg
import functools
import mmap
import multiprocessing
import random
import socket
import threading
import types
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.utils import EzPickle
from stable_baselines3.common.monitor import Monitor

from sb3_trpo.simulators import CannotCloneError, check_clone, clone_state, copy_env, restore_state
from sb3_trpo.simulators.mujoco_state import _Views
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


class Listed(Walk, list):
    pass


class Slotted(Walk):
    __slots__ = ("secret",)


def collecting(reward: float, seen: list[float] = []) -> float:  # noqa: B006 (that is the point)
    seen.append(reward)
    return len(seen)


class Ending:
    def __del__(self) -> None: ...


class Lossy:
    pass


copyreg.pickle(Lossy, lambda lossy: (Lossy, ()))


class Bits(np.random.PCG64):
    pass


def keeping(kind: str) -> Any:
    """A function that keeps something where it is not looked for."""
    seen: list[int] = []
    if kind == "attribute":

        def function(*, step: int = 1) -> int:
            return step

        function.seen = seen  # type: ignore[attr-defined]
    elif kind == "keyword":

        def function(*, step: Any = seen) -> int:
            return len(step)

    else:
        inner = keeping("attribute")

        def function(*, step: Any = inner) -> int:
            return step()

    return function


def view_of_a_record() -> Any:
    return np.zeros(3, dtype=[("x", "f8")])[1]


BUFFER = bytearray(16)

THINGS = {
    "what ends something": Ending,
    "one end of a pipe": lambda: multiprocessing.Pipe()[0],
    "reduced by copyreg": Lossy,
    "bare object": object,
    "record": view_of_a_record,
    "shared bytearray": lambda: np.frombuffer(BUFFER),
    "function that keeps something": lambda: [collecting],
    "partial of one": lambda: functools.partial(collecting, 1.0),
    "foreign bit generator": lambda: np.random.Generator(Bits(0)),
    "the process's generator": lambda: random.random,
    "NumPy's generator": lambda: np.random.normal,
    "environment that pickles itself": lambda: gym.make("LunarLander-v3"),
    "generator": lambda: (number for number in range(3)),
    "thread": lambda: threading.Thread(target=print),
    "lock": threading.Lock,
    "socket": socket.socket,
    "file": lambda: open(__file__),
    "pickles itself": Picky,
    "inner function": lambda: [lambda: 3],
    "view of foreign memory": lambda: np.frombuffer(mmap.mmap(-1, 64), dtype=np.uint8),
    "view of another simulator": lambda: gym.make("Hopper-v5").unwrapped.data.qpos,
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
        *((lambda kind=kind: Holding(keeping(kind)), r"Holding\.thing.*function") for kind in ("attribute", "keyword", "")),
        (lambda: Holding(np.random.Generator(Bits(0))), r"Holding\.thing.*not one of NumPy's"),
        (Listed, "Listed.*memory of its own"),
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


class Seeing(HopperEnv):
    """Holds a view of another instance's simulator."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = HopperEnv().data.qpos


def sleeping() -> gym.Env:
    env = HopperEnv()
    env.model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    return env


class Plugged:
    """A model with plugins."""

    def __init__(self, data: Any):
        self.opt, self.nplugin = data.model.opt, 1


def test_simulators_with_state_elsewhere_are_refused():
    with pytest.raises(CannotCloneError, match=r"Seeing\.seen"):
        clone_state(Seeing())
    if hasattr(mujoco.mjtEnableBit, "mjENBL_SLEEP"):
        with pytest.raises(CannotCloneError, match="which of them sleep"):
            clone_state(sleeping())
    data = HopperEnv().data
    with pytest.raises(TypeError, match="plugins"):
        _Views(types.SimpleNamespace(model=Plugged(data)), ())


class Node:
    """Cannot be put in a set before it has its number."""

    def __init__(self) -> None:
        self.number, self.near = 0, set[Node]()
        self.near.add(self)

    def __hash__(self) -> int:
        return self.number


def test_what_can_be_pickled_and_not_unpickled_is_named():
    env = Holding([Node()])
    with pytest.raises(CannotCloneError, match=r"Holding\.thing.*not unpickled"):
        restore_state(env, clone_state(env))


class Forgotten(HopperEnv):
    """Nothing remembers its arguments."""

    def __init__(self) -> None:
        super().__init__()
        del self._ezpickle_args


class Heavier(HopperEnv):
    """The arguments remembered are those of the class it derives from."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor


@pytest.mark.parametrize("make", [Forgotten, lambda: Heavier(2.0)])
def test_arguments_that_are_not_remembered(make):
    env = make()
    env.reset(seed=0)
    with pytest.raises(CannotCloneError, match=r"EzPickle\.__init__\(self, …\) with all of its own arguments"):
        copy_env(env)
