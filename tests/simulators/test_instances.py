"""Instances of any class: saved and restored without any code of theirs, whatever their methods say."""

import enum
import functools
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import pytest

from sb3_trpo.simulators import clone_state, restore_state
from tests.derived_types import DERIVED, Queue, Shouting, Turned, holding
from tests.simulator_toys import Toy, assert_saved_and_copied


class Counted:
    """Every one made is counted, in the one made."""

    made: ClassVar[int] = 0

    def __new__(cls, *args: Any) -> "Counted":
        new = super().__new__(cls)
        new.number = Counted.made = Counted.made + 1  # type: ignore[attr-defined]
        return new


class Proxy:
    """Answers for another object, also when asked how it is pickled."""

    def __init__(self, target: Any):
        object.__setattr__(self, "_target", target)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_target"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._target, name, value)

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return type(self._target)


class Anything:
    """Has every attribute."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class Clamped:
    """Slots that are set through a method, one behind a property."""

    __slots__ = ("_level", "free")

    def __setattr__(self, name: str, value: float) -> None:
        object.__setattr__(self, name, min(value, 5.0))

    @property
    def level(self) -> float:
        return self._level + 0.5


class Hiding(Clamped):
    """A slot that a property of the same name hides."""

    __slots__ = ()

    @property
    def free(self) -> float:  # type: ignore[override]
        return -1.0


@dataclass(frozen=True)
class Setting:
    number: int
    seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen.append(-1)


class Point(NamedTuple):
    x: float
    seen: list[float]


class Lit(enum.Enum):
    RED, GREEN = [1], [2]


class Plain:
    def __init__(self) -> None:
        self.number = 0.0


class Objects(Toy):
    def begin(self) -> None:
        self.counted, self.plain, self.any = Counted(), Plain(), Anything()
        self.proxy, self.setting, self.point = Proxy(self.plain), Setting(3), Point(1.0, [])
        self.clamped, self.hiding, self.light = Clamped(), Hiding(), Lit.RED
        object.__setattr__(self.clamped, "_level", 9.0)
        Clamped.free.__set__(self.hiding, 3.0)  # type: ignore[attr-defined]

    def noise(self) -> float:
        number = float(self.np_random.normal())
        self.plain.number += number
        self.proxy.number += 1.0
        self.any.count = vars(self.any).get("count", 0) + 1
        self.counted.steps = getattr(self.counted, "steps", 0) + 1  # type: ignore[attr-defined]
        object.__setattr__(self.clamped, "_level", self.clamped._level + 1.0)
        Clamped.free.__set__(self.hiding, number)  # type: ignore[attr-defined]
        self.setting.seen.append(1)
        self.point.seen.append(number)
        if number > 0.0:
            self.light = Lit.GREEN if self.light is Lit.RED else Lit.RED
        shown = [self.plain.number, self.any.count, self.counted.steps, self.clamped.level]  # type: ignore[attr-defined]
        shown += [Clamped.free.__get__(self.hiding), len(self.setting.seen), sum(self.point.seen), self.light is Lit.RED]  # type: ignore[attr-defined]
        return float(np.dot(shown, 1.7 ** np.arange(len(shown))))


class Numbered(Toy):
    """Who was made when is known of objects, and counted nowhere but in them."""

    def begin(self) -> None:
        self.counted = Counted()
        self.counted.number = 3  # type: ignore[attr-defined]

    def noise(self) -> float:
        self.counted.number += 1  # type: ignore[attr-defined]
        return self.counted.number  # type: ignore[attr-defined]


class Ordered(Toy):
    """Goes by the order of its attributes."""

    def renew(self) -> None:
        for name in self.np_random.permutation(["a", "b", "c"]):
            vars(self).pop(name, None)
            setattr(self, name, 1)

    def noise(self) -> float:
        return float([name for name in vars(self) if len(name) == 1].index("b")) + self.np_random.normal()


class Typed(Toy):
    """Whether dtypes are one object, which NumPy has one of each."""

    def begin(self) -> None:
        self.dtype = np.dtype("float32")

    def noise(self) -> float:
        return float(self.dtype is np.dtype("float32"))


class OwnDict(Toy):
    """Attributes of an object, and of the environment, under other names."""

    def begin(self) -> None:
        self.plain, self.named = Plain(), types.SimpleNamespace(number=0.0)
        self.table, self.mine = vars(self.plain), vars(self)

    def noise(self) -> float:
        self.table["number"] += self.np_random.normal()
        self.mine["extra"] = self.mine.get("extra", 0.0) + 1.0
        return self.plain.number + self.extra  # type: ignore[attr-defined]


class Stack(list):
    """Keeps the method that it overrides."""

    def __init__(self) -> None:
        super().__init__()
        self.push = super().append

    def append(self, item: Any) -> None:
        super().append(-1)


class OldMethods(Toy):
    def begin(self) -> None:
        self.stack = Stack()
        self.push = self.stack.push

    def noise(self) -> float:
        self.push(1)
        self.stack.push(2)
        return float(np.dot(self.stack, np.arange(1.0, len(self.stack) + 1)))


class Cached(Toy):
    """A property that is worked out once, and forgotten now and then."""

    @functools.cached_property
    def price(self) -> float:
        return float(self.np_random.normal())

    def noise(self) -> float:
        if self.np_random.random() < 0.3:
            vars(self).pop("price", None)
        return self.price


class Cycles(Toy):
    """Containers of every kind that lead back to themselves."""

    def begin(self) -> None:
        self.turned, self.dictionary, self.queue = Turned([]), Shouting(), Queue(5)
        list.append(self.turned, self.dictionary)
        dict.__setitem__(self.dictionary, "queue", self.queue)
        self.queue.append(self.turned)
        self.point = Point(1.0, [])
        self.point.seen.append(self.point)  # type: ignore[arg-type]
        self.count = [0.0]
        list.append(self.turned, self.count)

    def noise(self) -> float:
        self.count[0] += self.np_random.normal()
        around = list.__getitem__(deque.__getitem__(dict.__getitem__(list.__getitem__(self.turned, 0), "queue"), 0), 1)
        return around[0] + 10.0 * (self.point.seen[0] is self.point)


ENVIRONMENTS: dict[str, Callable[[], gym.Env]] = {
    **{f"derived from {name}": functools.partial(holding, name) for name in DERIVED},
    **{kind.__name__: kind for kind in (Objects, Numbered, Ordered, Typed, OwnDict, OldMethods, Cached, Cycles)},
}


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_nothing_of_an_instance_is_lost(name):
    assert_saved_and_copied(ENVIRONMENTS[name])


def test_no_code_of_a_class_is_run():
    env = Numbered()
    env.reset(seed=0)
    made = Counted.made
    restore_state(env, clone_state(env))
    assert Counted.made == made
