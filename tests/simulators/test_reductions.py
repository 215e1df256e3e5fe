"""How objects are taken apart: arrays that look into others, and what is refused because its copy would be another."""

import functools
import random
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

from sb3_trpo.simulators import CannotCloneError, clone_state
from tests.derived_types import Even, Turned, total
from tests.simulator_toys import Toy, Walk, assert_saved_and_copied


class Pointing(HopperEnv):
    """All of one of the simulator's arrays or of another, and a part of one backwards."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.where, self.part = self.data.qpos, self.data.qvel[1:]
        self.masses, self.table = self.model.body_mass, {"force": self.data.qfrc_bias}

    def reset_model(self) -> np.ndarray:
        observation = super().reset_model()
        if self.np_random.random() < 0.5:
            self.where, self.part = self.data.qvel, self.data.qpos[::-2]
            self.masses, self.table["force"] = self.model.body_inertia[:, 0], self.data.qfrc_passive
        else:
            self.where, self.part = self.data.qpos, self.data.qvel[1:]
            self.masses, self.table["force"] = self.model.body_mass, self.data.qfrc_bias
        self.model.body_mass[1:] = self.np_random.uniform(1.0, 5.0, self.model.nbody - 1)
        return observation

    def step(self, action: np.ndarray) -> Any:
        before = self.where[0] + self.part[0] + self.masses[1] + self.table["force"].sum()
        self.where[1] += 1e-3
        obs, reward, *rest = super().step(action)
        return obs, reward + before, *rest


class Watching(gym.Wrapper):
    """Looks into one array of the environment inside or another."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.watched = self.unwrapped.data.qpos

    def reset(self, **settings: Any) -> Any:
        result = self.env.reset(**settings)
        data = self.unwrapped.data
        self.watched = (data.qpos, data.qvel, data.xpos[1])[self.unwrapped.np_random.integers(3)]
        return result

    def step(self, action: Any) -> Any:
        before = self.watched.sum()
        obs, reward, *rest = self.env.step(action)
        return obs, reward + before, *rest


class OtherArrays(Toy):
    """A view of all of an array, which is another one now and then."""

    def begin(self) -> None:
        self.first, self.second = np.zeros(3), np.ones(3)
        self.seen = self.first[:]

    def noise(self) -> float:
        if self.np_random.random() < 0.4:
            self.seen = (self.first, self.second, self.first[::-1])[self.np_random.integers(3)][:]
        self.seen[0] += self.np_random.normal()
        return self.first @ [1.0, 2.0, 3.0] + self.second @ [4.0, 5.0, 6.0]


class Views(Toy):
    """Arrays in columns and in no usual order, views of many kinds, and one that may be written to while its base may not."""

    def begin(self) -> None:
        self.columns = np.zeros((4, 5), order="F")
        self.back, self.turned, self.empty = self.columns[::-1, 1:4], self.columns.T, self.columns[4:4]
        self.bytes = self.columns.T.view(np.uint8)
        self.alone = np.array([[1.0, 2.0], [3.0, 4.0]], order="F")
        self.swapped = np.zeros((2, 3, 4)).transpose(1, 0, 2).copy("K")  # in neither order
        self.swapped_part = self.swapped[1:, 0]
        self.base = np.zeros(4)
        self.open = self.base[1:]
        self.base.flags.writeable = False
        self.closed = np.arange(3.0)
        self.closed.flags.writeable = False
        self.objects = np.empty(2, dtype=object)
        self.objects[0] = self.objects[1] = [1]

    def renew(self) -> None:
        self.columns[:] = 0.0

    def noise(self) -> float:
        self.back[0, 0] += self.np_random.normal()
        self.open[0] += 1.0
        self.swapped_part[0, 0] += self.np_random.normal()
        self.objects[0].append(1)
        flags = [self.columns.flags.f_contiguous, self.closed.flags.writeable, self.base.flags.writeable]
        shown = (
            self.alone.ravel("K") @ np.arange(4.0)
            + self.columns.ravel("K") @ np.arange(20.0)
            + self.turned.sum()
            + self.swapped.ravel("K") @ np.arange(24.0)
            + self.bytes.sum()
            + self.empty.size
        )
        return shown + self.base[1] + len(self.objects[1]) + float(np.dot(flags, [1, 10, 100]))


ENVIRONMENTS: dict[str, Callable[[], gym.Env]] = {
    "views": Pointing,
    "views from outside": lambda: Watching(gym.make("Hopper-v5", max_episode_steps=9)),
    "views of arrays": OtherArrays,
    "views of many kinds": Views,
}


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_views_look_into_the_same_memory_again(name):
    assert_saved_and_copied(ENVIRONMENTS[name])


def test_a_view_of_what_mujoco_makes_for_each_contact_is_refused():
    env = Pointing()
    env.reset(seed=0)
    env.force = env.data.efc_force  # type: ignore[attr-defined]
    with pytest.raises(CannotCloneError, match=r"Pointing\.force.*not part of the state"):
        clone_state(env)


class Single:
    """There is one of it."""

    only: ClassVar[Any] = None

    def __new__(cls) -> "Single":
        if cls.only is None:
            cls.only = super().__new__(cls)
        return cls.only


class Fly:
    """There is one for each number."""

    kept: ClassVar[dict[int, Any]] = {}

    def __new__(cls, number: int = 0) -> "Fly":
        return cls.kept.setdefault(number, super().__new__(cls))


class Reduced(dict):
    def __reduce__(self) -> Any:
        return Reduced, ()


class Missing(dict):
    def __setstate__(self, state: Any) -> None: ...


class Matrix(np.ndarray):
    pass


class Half(np.float64):
    pass


class Dice(random.Random):
    def random(self) -> float:
        return 0.5


def marked() -> random.Random:
    generator = random.Random(3)
    generator.mark = 1  # type: ignore[attr-defined]
    return generator


class Plain:
    """Nothing special."""


@functools.lru_cache
def remembered(number: int) -> float:
    return float(number)


KEPT: list[Any] = [Plain(), Even()]
REFUSED: dict[str, Callable[[], Any]] = {
    "weak reference": lambda: weakref.ref(KEPT[0]),
    "weak proxy": lambda: weakref.proxy(KEPT[0]),
    "weak dictionary": lambda: weakref.WeakValueDictionary(a=KEPT[0]),
    "weak set": lambda: weakref.WeakSet([KEPT[0]]),
    "iterator": lambda: iter([1, 2]),
    "iterator of a class's": lambda: iter(Turned([1, 2])),
    "zip": lambda: zip([1], [2]),  # noqa: B905
    "memory": lambda: memoryview(bytearray(3)),
    "cache": lambda: functools.lru_cache(total),
    "method of a cache": lambda: types.MethodType(remembered, 3),
    "only instance": Single,
    "one of few instances": Fly,
    "pickles itself": Reduced,
    "unpickles itself": Missing,
    "array's subclass": lambda: np.zeros(3).view(Matrix),
    "masked array": lambda: np.ma.masked_array([1.0], [True]),
    "number's subclass": lambda: Half(3.0),
    "generator's subclass": lambda: Dice(3),
    "generator with an attribute": marked,
    "dtype with metadata": lambda: np.dtype("f8", metadata={"unit": "m"}),
    "array with metadata": lambda: [np.zeros(3, np.dtype("f8", metadata={"unit": "m"}))],
    "error with memory of its own": lambda: StopIteration(3),
    "file error": lambda: OSError(2, "no such file", "name"),
    "module without a name": lambda: types.ModuleType("nothing"),
    "ordered dict whose attributes are known elsewhere": lambda: (lambda of: [of, vars(of)])(OrderedDict(a=1)),
    "mapping proxy": lambda: types.MappingProxyType({}),
    "namespace whose attributes are known elsewhere": lambda: (lambda of: [of, vars(of)])(types.SimpleNamespace(a=1)),
}


@pytest.mark.parametrize("thing", list(REFUSED))
def test_what_would_be_another_is_refused_by_name(thing):
    env = Walk()
    env.thing = REFUSED[thing]()  # type: ignore[attr-defined]
    with pytest.raises(CannotCloneError, match=r"Walk\.thing.*clone_state\(\)"):
        clone_state(env)
