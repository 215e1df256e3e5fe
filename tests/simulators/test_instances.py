"""Attributes whose classes have a say in everything but their copies: saved, and restored wherever that can be."""

import enum
import functools
import random
import types
import weakref
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

from sb3_trpo.simulators import CannotCloneError, check_clone, clone_state, copy_env, restore_state
from tests.simulator_toys import Own, Walk, assert_exact
from tests.simulators.test_copies import Toy

# Functions that one function makes


def scaled(factor: float) -> Callable[[float], float]:
    return lambda number: factor * number


def counting(start: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """Two functions with one variable."""

    def up() -> int:
        nonlocal start
        start += 1
        return start

    return up, lambda: start


class Chosen(Toy):
    """One of two functions, under a third name."""

    def begin(self) -> None:
        self.easy, self.hard = scaled(1.0), scaled(3.0)
        self.now = self.easy

    def renew(self) -> None:
        self.now = (self.easy, self.hard)[self.np_random.integers(2)]

    def noise(self) -> float:
        if self.np_random.random() < 0.3:
            self.now = (self.easy, self.hard)[self.np_random.integers(2)]
        return self.now(1.0) + 10.0 * self.easy(1.0) + 100.0 * self.hard(1.0)


class ChosenFirst(Chosen):
    """The name that changes comes first."""

    def begin(self) -> None:
        self.now = scaled(1.0)
        self.easy, self.hard = self.now, scaled(3.0)


class Swapped(Chosen):
    def renew(self) -> None:
        if self.np_random.random() < 0.5:
            self.easy, self.hard = self.hard, self.easy


class Merged(Chosen):
    """One function under all names, or three."""

    def renew(self) -> None:
        self.easy, self.hard = scaled(1.0), scaled(3.0)
        if self.np_random.random() < 0.5:
            self.easy = self.hard
        self.now = self.easy


class Sharing(Toy):
    """Functions that count together, or each for itself."""

    def begin(self) -> None:
        self.up, self.count = counting(0)

    def renew(self) -> None:
        self.up, self.count = counting(0)
        if self.np_random.random() < 0.5:
            self.count = counting(5)[1]

    def noise(self) -> float:
        return self.up() + 0.01 * self.count()


class Within(Chosen):
    """The choice is in a variable of another function."""

    def begin(self) -> None:
        super().begin()
        self.choose, self.chosen = self.holding(self.easy)

    def holding(self, now: Any) -> Any:
        def choose(function: Any) -> None:
            nonlocal now
            now = function

        return choose, lambda number: now(number)

    def renew(self) -> None:
        self.choose((self.easy, self.hard)[self.np_random.integers(2)])

    def noise(self) -> float:
        return self.chosen(1.0) + 10.0 * self.easy(1.0) + 100.0 * self.hard(1.0)


class Unassigned(Toy):
    """A variable that has a value now and then."""

    def begin(self) -> None:
        number = 0.0

        def put(value: float | None) -> None:
            nonlocal number
            number = 0.0
            if value is None:
                del number
            else:
                number = value

        def get() -> float:
            try:
                return number
            except NameError:
                return -100.0

        self.put, self.get = put, get

    def noise(self) -> float:
        found = self.get()
        self.put(None if self.np_random.random() < 0.5 else float(self.np_random.integers(9)))
        return found


# What derives from a built-in type, with methods of its own


class Angle(float):
    def __new__(cls, degrees: float) -> "Angle":
        return super().__new__(cls, degrees * np.pi / 180.0)


class Odd(int):
    def __new__(cls, number: int) -> "Odd":
        return super().__new__(cls, 2 * number + 1)

    def __int__(self) -> int:
        return 7

    def __getnewargs__(self) -> tuple[int]:
        return (7,)


class Quoted(str):
    def __new__(cls, text: str) -> "Quoted":
        return super().__new__(cls, f"'{text}'")

    def __str__(self) -> str:
        return "nothing"


class Doubled(bytes):
    def __new__(cls, data: bytes) -> "Doubled":
        return super().__new__(cls, data + data)


class Pair(tuple):
    def __new__(cls, first: int, second: int) -> "Pair":
        return super().__new__(cls, (first, second, first + second))

    def __iter__(self) -> Iterator[Any]:
        return iter((0, 0))


class Turned(list):
    def __iter__(self) -> Iterator[Any]:
        return reversed([*list.__iter__(self)])

    def append(self, item: Any) -> None:
        super().append(item)
        super().append(item)

    def extend(self, items: Any) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        return 1


class Shouting(dict):
    def items(self) -> Any:
        return {}.items()

    def __getitem__(self, key: Any) -> Any:
        return 2.0 * super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value + 1.0)

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Bunch(dict):
    """Its items are its attributes."""

    def __init__(self, **items: Any):
        super().__init__(**items)
        self.__dict__ = self


class Even(set):
    def __init__(self, numbers: Any = ()):
        super().__init__(number for number in numbers if number % 2 == 0)
        set.add(self, -1)

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Frozen(frozenset):
    def __new__(cls, numbers: Any) -> "Frozen":
        return super().__new__(cls, [*numbers, 99])


class Queue(deque):
    def __init__(self, size: int):
        super().__init__([0], maxlen=size)

    def __iter__(self) -> Iterator[Any]:
        return iter([1])

    def append(self, item: Any) -> None:
        super().appendleft(item)


class Latest(OrderedDict):
    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key, last=False)

    def items(self) -> Any:
        return super().items() if False else []


class Default(defaultdict):
    def __init__(self) -> None:
        super().__init__(int)

    def __missing__(self, key: Any) -> Any:
        self[key] = 3
        return 3


class Tally(Counter):
    pass


class Buffer(bytearray):
    def __init__(self, size: int):
        super().__init__(bytes(size + 1))


class Numbers(array):
    def tobytes(self) -> bytes:
        return b""


class Bound(functools.partial):
    def __new__(cls, function: Any, *args: Any) -> "Bound":
        return super().__new__(cls, function, *args, 10.0)


class Wrong(ValueError):
    def __init__(self, number: float):
        super().__init__(f"wrong: {number}")


def total(*numbers: float) -> float:
    return sum(numbers)


def content(value: Any) -> Any:
    """What a value of a built-in type has in it, whatever its class says."""
    if isinstance(value, (float, int)):
        return float.__float__(value) if isinstance(value, float) else int.__add__(value, 0)
    if isinstance(value, str):
        return str.encode(value)
    if isinstance(value, bytes):
        return bytes.__add__(value, b"")
    for kind in (tuple, list, deque):
        if isinstance(value, kind):
            return [content(part) for part in kind.__iter__(value)]
    if isinstance(value, OrderedDict):
        return [(key, content(part)) for key, part in OrderedDict.items(value)]
    if isinstance(value, dict):
        return [(key, content(part)) for key, part in dict.items(value)]
    for kind in (set, frozenset):
        if isinstance(value, kind):
            return sorted(kind.__iter__(value))
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, array):
        return array.tolist(value)
    if isinstance(value, functools.partial):
        return value.args
    return value.args if isinstance(value, BaseException) else value


class Holding(Toy):
    """Has something made at every reset, with an attribute if it takes one, and shows all that is in it.

    :param make: what, from a number
    :param change: what a step does to it
    """

    def __init__(self, make: Callable[[int], Any], change: Callable[[Any, int], Any]):
        self.make, self.change = make, change
        super().__init__()

    def renew(self) -> None:
        self.thing = self.same = self.make(int(self.np_random.integers(1, 9)))

    def noise(self) -> float:
        number = int(self.np_random.integers(1, 9))
        new = self.change(self.thing, number)
        if new is not None:
            self.thing = new
        if hasattr(self.same, "__dict__") and not isinstance(self.same, Bunch):
            self.same.note = getattr(self.same, "note", 0) + 1
            number += 1000 * self.thing.note if hasattr(self.thing, "note") else 0
        shown = repr((type(self.thing).__name__, content(self.thing), content(self.same), self.thing is self.same))
        return number + float(np.frombuffer(shown.encode(), dtype=np.uint8) @ np.arange(1.0, len(shown.encode()) + 1))


def angle(number: int) -> Any:
    return Angle(number)


def numbers(number: int) -> Any:
    return Numbers("d", [1.0, float(number)])


def tally(number: int) -> Any:
    return Counter(a=number)


def dictionary(number: int) -> Any:
    made = Shouting()
    made["a"] = float(number)
    return made


def latest(number: int) -> Any:
    made = Latest()
    made["a"], made["b"] = number, 2
    return made


def bound(number: int) -> Any:
    return Bound(total, float(number))


def pair(number: int) -> Any:
    return Pair(number, 2)


def bunch(number: int) -> Any:
    return Bunch(a=number)


def nothing(thing: Any, number: int) -> None: ...


def renewed(thing: Any, number: int) -> Any:
    return type(thing)(number) if number > 6 else None


def grown(thing: Any, number: int) -> None:
    list.append(thing, number)


def written(thing: Any, number: int) -> None:
    dict.__setitem__(thing, f"key {number}", number)


def noted(thing: Bunch, number: int) -> None:
    setattr(thing, f"key{number}", len(thing))
    thing["a"] = thing.a + 1  # type: ignore[attr-defined]


def text(number: int) -> Any:
    return Quoted(str(number))


def doubled(number: int) -> Any:
    return Doubled(bytes([number]))


def even(number: int) -> Any:
    return Even([number, number + 1])


def frozen(number: int) -> Any:
    return Frozen([number])


def turned(number: int) -> Any:
    return Turned([number, 2, 3])


def default(number: int) -> Any:
    return Default()


def looked_up(thing: Any, number: int) -> None:
    thing[number] += 1


def counted(thing: Any, number: int) -> None:
    thing[f"key {number % 3}"] += number


def added(thing: Any, number: int) -> None:
    set.add(thing, number)


def queued(thing: Any, number: int) -> None:
    thing.append(number)


def overwritten(thing: Any, number: int) -> None:
    thing[-1] = number


def extended(thing: Any, number: int) -> None:
    array.append(thing, float(number))


DERIVED: dict[str, tuple[Callable[[int], Any], Callable[[Any, int], Any]]] = {
    "float": (angle, renewed),
    "int": (Odd, renewed),
    "str": (text, nothing),
    "bytes": (doubled, nothing),
    "tuple": (pair, nothing),
    "list": (turned, grown),
    "dict": (dictionary, written),
    "dict of attributes": (bunch, noted),
    "set": (even, added),
    "frozenset": (frozen, nothing),
    "deque": (Queue, queued),
    "OrderedDict": (latest, written),
    "defaultdict": (default, looked_up),
    "Counter": (tally, counted),
    "Counter's subclass": (lambda number: Tally(a=number), counted),
    "bytearray": (Buffer, overwritten),
    "array": (numbers, extended),
    "partial": (bound, nothing),
    "exception": (Wrong, renewed),
}


def holding(name: str) -> Holding:
    make, change = DERIVED[name]
    return Holding(make, change)


# Objects whose classes decide what is read and written


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


# What an environment says of itself


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


# Arrays that look into others


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
    **{kind.__name__: kind for kind in (Chosen, ChosenFirst, Swapped, Merged, Sharing, Within, Unassigned)},
    **{f"derived from {name}": functools.partial(holding, name) for name in DERIVED},
    **{kind.__name__: kind for kind in (Objects, Numbered, Ordered, Typed, OwnDict, OldMethods, Cached, Cycles)},
    "containers of another's": ListeningToLists,
    "metadata": Saying,
    "specification": specified,
    "a wrapper's metadata": lambda: Renaming(Walk()),
    "a wrapper's specification": lambda: Renaming(specified()),
    "views": Pointing,
    "views from outside": lambda: Watching(gym.make("Hopper-v5", max_episode_steps=9)),
    "views of arrays": OtherArrays,
}


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_nothing_of_an_attribute_is_lost(name):
    assert_exact(ENVIRONMENTS[name])


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_copies_have_all_of_an_attribute(name):
    report = check_clone(ENVIRONMENTS[name](), n_steps=30)
    assert report.exact, report


def test_what_else_refers_to_a_functions_variables_goes_on_seeing_them():
    env = Toy()
    up, env.count = counting(0)  # type: ignore[attr-defined]
    state = clone_state(env)
    up()
    restore_state(env, state)
    assert env.count() == 0 and up() == env.count() == 1  # type: ignore[attr-defined]


def test_no_code_of_a_class_is_run():
    env = Numbered()
    env.reset(seed=0)
    made = Counted.made
    restore_state(env, clone_state(env))
    assert Counted.made == made


# What cannot be copied exactly is refused


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


def choosing() -> Any:
    """A function that has another one for a default, which has a third in its closure."""
    inner = scaled

    def switch() -> None:
        nonlocal inner
        inner = counting  # type: ignore[assignment]

    def function(*, of: Any = lambda: inner) -> Any:
        return of()

    return function, switch


def test_a_function_in_a_variable_of_a_default_is_compared():
    env = Walk()
    env.function, switch = choosing()  # type: ignore[attr-defined]
    state = clone_state(env)
    restore_state(env, state)
    switch()
    with pytest.raises(CannotCloneError, match=r"Walk\.function"):
        restore_state(env, state)


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


def test_a_view_of_what_mujoco_makes_for_each_contact_is_refused():
    env = Pointing()
    env.reset(seed=0)
    env.force = env.data.efc_force  # type: ignore[attr-defined]
    with pytest.raises(CannotCloneError, match=r"Pointing\.force.*not part of the state"):
        clone_state(env)


def test_a_copy_keeps_how_its_original_was_made():
    env = specified()
    copy = copy_env(env)
    assert copy.unwrapped.spec == env.unwrapped.spec and copy.unwrapped.spec is not env.unwrapped.spec
