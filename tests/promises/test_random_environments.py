"""Environments whose attributes are drawn at random, of kinds that a copy easily gets wrong: exact, or refused by name."""

import functools
import random
import weakref
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, NamedTuple
from zlib import crc32

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_trpo.simulators import CannotCloneError, clone_state, copy_env, restore_state
from tests import derived_types as kinds
from tests.simulators.test_instances import Clamped
from tests.simulators.test_reductions import KEPT, Matrix

ENVIRONMENTS = 150  # 1,000 to look for new ones
STEPS = 6


Seen = dict[int, tuple[str, Any]]  # what was met already: by id, a name for it and itself


class Thing:
    def __init__(self, number: float):
        self.number, self.others = number, []  # type: ignore[var-annotated]


class Made:
    """Cannot be made without a number, nor be given one twice."""

    def __new__(cls, number: int) -> "Made":
        new = super().__new__(cls)
        new.number = number * 2  # type: ignore[attr-defined]
        return new

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, [value])


class Pointer:
    """Answers for another object."""

    def __init__(self, target: Any):
        self.target = target

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.target, name)


class Point(NamedTuple):
    x: float
    seen: list[Any]


def scaled(factor: float) -> Callable[[float], float]:
    return lambda number: factor * number


def counter(start: float) -> Callable[[], float]:
    def count() -> float:
        nonlocal start
        start += 1.0
        return start

    return count


def remembering() -> Callable[[float], int]:
    seen: list[float] = []

    def remember(number: float) -> int:
        seen.append(number)
        return len(seen)

    return remember


def drawing(generator: np.random.Generator) -> Any:
    """A new value of a random kind."""
    number = int(generator.integers(1, 9))
    made = MAKERS[generator.integers(len(MAKERS))](number)
    if generator.random() < 0.3 and hasattr(made, "__dict__") and type(made) not in (kinds.Bunch, Clamped):
        try:
            made.note = number
        except (AttributeError, TypeError):
            pass
    return made


MAKERS: list[Callable[[int], Any]] = [
    *(make for make, _ in kinds.DERIVED.values()),
    lambda n: [float(n), n],
    lambda n: {"a": [n], n: "b"},
    lambda n: {n, n + 1},
    lambda n: (n, [n]),
    lambda n: np.arange(float(n)),
    lambda n: np.asfortranarray(np.ones((n, 2))),
    lambda n: deque([n], maxlen=4),
    lambda n: OrderedDict(b=n, a=1),
    lambda n: defaultdict(list, {n: [n]}),
    lambda n: Counter(str(n) * n),
    lambda n: bytearray([n]),
    lambda n: Thing(n),
    lambda n: Pointer(Thing(n)),
    lambda n: Made(n),
    lambda n: Point(n, [n]),
    lambda n: scaled(float(n)),
    lambda n: scaled(float(n)),
    lambda n: counter(n),
    lambda n: remembering(),
    lambda n: functools.partial(kinds.total, n),
    lambda n: np.random.default_rng(n),
    lambda n: np.random.RandomState(n),
    lambda n: random.Random(n),
    lambda n: spaces.Box(0.0, float(n), (2,), seed=n),
    lambda n: float(n),
    lambda n: None,
]
REFUSED: list[Callable[[int], Any]] = [
    lambda n: weakref.ref(KEPT[0]),
    lambda n: weakref.proxy(KEPT[0]),
    lambda n: iter([n]),
    lambda n: functools.lru_cache(kinds.total),
    lambda n: [scaled(float(n))],
    lambda n: np.zeros(n).view(Matrix),
]


class Random(gym.Env):
    """Attributes of random kinds, which refer to one another and change at random; shows a digest of all of them.

    :param seed: decides what they are
    """

    observation_space = spaces.Box(0, 2**32, (1,), np.float64)

    def __init__(self, seed: int):
        self.action_space = spaces.Discrete(2)
        generator = np.random.default_rng(seed)
        self.names = [f"a{index}" for index in range(int(generator.integers(2, 7)))]
        for name in generator.permutation(self.names):
            setattr(self, name, drawing(generator))
        if generator.random() < 0.1:
            self.a0 = REFUSED[generator.integers(len(REFUSED))](2)
        if generator.random() < 0.3:
            self.metadata = {"render_modes": [], "level": [int(generator.integers(9))]}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        for _ in range(2):
            self._change()
        return self._shown(), {}

    def step(self, action: Any) -> Any:
        for _ in range(1 + int(action)):
            self._change()
        return self._shown(), 0.0, False, False, {}

    def _change(self) -> None:
        name, other = self.np_random.choice(self.names, 2)
        value, chance, number = getattr(self, name, None), self.np_random.random(), int(self.np_random.integers(1, 9))
        if chance < 0.1:
            setattr(self, name, drawing(self.np_random))
        elif chance < 0.25:
            setattr(self, name, getattr(self, other, None))  # one object under two names
        elif chance < 0.3 and type(value) is np.ndarray and value.size:
            setattr(self, other, value[::-1] if number % 2 else value[:])
        elif chance < 0.35 and len(self.names) > 1:
            vars(self).pop(name, None)
        elif chance < 0.4 and hasattr(value, "__dict__") and type(value) is not spaces.Box and not callable(value):
            setattr(self, other, vars(value))
        elif chance < 0.45 and "metadata" in vars(self):
            self.metadata["level"][0] += number
        else:
            _alter(value, getattr(self, other, None), number)

    def _shown(self) -> np.ndarray:
        text = repr(list(_digest(sorted(vars(self).items()), {id(self): ("self", self)}))).encode()
        return np.array([crc32(text)], dtype=np.float64)


def _alter(value: Any, other: Any, number: int) -> None:
    """Change what is in a value, now and then to another value; with the methods of the built-in type."""
    linked = other if number > 6 and not callable(other) else number
    if isinstance(value, list):
        list.append(value, linked)
        if number == 2:
            list.reverse(value)
    elif isinstance(value, OrderedDict):
        OrderedDict.__setitem__(value, f"key{number}", linked)
    elif isinstance(value, dict):
        dict.__setitem__(value, f"key{number}", linked)
    elif isinstance(value, set):
        set.add(value, number)
    elif isinstance(value, deque):
        deque.append(value, linked)
    elif isinstance(value, bytearray):
        bytearray.append(value, number)
    elif isinstance(value, array):
        array.append(value, float(number))
    elif type(value) is np.ndarray and value.size and value.flags.writeable:
        value.flat[number % value.size] += number
    elif type(value) in (Thing, Pointer, Point):
        thing = value.target if type(value) is Pointer else value
        (thing.seen if type(thing) is Point else thing.others).append(linked)
    elif type(value) in (np.random.Generator, np.random.RandomState, random.Random):
        value.normal() if hasattr(value, "normal") else value.random()
    elif type(value) is spaces.Box:
        value.sample()
    elif isinstance(value, FunctionType):
        value(float(number)) if value.__code__.co_argcount else value()


def _digest(value: Any, seen: Seen) -> Iterator[Any]:
    """All that a value consists of, and which of it is one object. Nothing here is the project's, nor runs a class's code."""
    kind = type(value)
    if kind in (int, float, str, bytes, bool, type(None)) or issubclass(kind, (type, np.generic)):
        yield repr(value)
        return
    if kind is not tuple and id(value) in seen:  # of empty tuples and the like Python has one only
        yield seen[id(value)][0]
        return
    seen[id(value)] = f"object {len(seen)}", value  # which keeps it, so that no other gets its id
    yield kind.__name__
    yield from _content(value, seen)
    named = _attributes(value)
    if named is value:
        yield "attributes are its items"
    elif named is not None:
        yield "attributes"
        yield from _digest(named, seen)


def _attributes(value: Any) -> Any:
    if type(value) in (np.random.Generator, np.random.RandomState, random.Random, Random):
        return None
    for base in type(value).__mro__:
        found = vars(base).get("__dict__")
        if found is not None:
            return found.__get__(value)
    return None


def _content(value: Any, seen: Seen) -> Iterator[Any]:
    kind = type(value)
    if kind is np.ndarray:
        yield value.tolist(), value.dtype.str, value.strides, value.flags.writeable
        if isinstance(value.base, np.ndarray):  # and not the bytes that another process has sent
            yield value.__array_interface__["data"][0] - value.base.__array_interface__["data"][0]
            yield from _digest(value.base, seen)
    elif kind is np.random.Generator:
        yield repr(value.bit_generator.state)
    elif kind is np.random.RandomState:
        yield repr(value.get_state())
    elif kind is random.Random:
        yield value.getstate()
    elif isinstance(value, FunctionType):
        yield value.__qualname__
        for cell in value.__closure__ or ():
            yield from _digest(cell.cell_contents, seen)
    elif isinstance(value, (OrderedDict, dict)):
        items = OrderedDict.items(value) if isinstance(value, OrderedDict) else dict.items(value)
        for key, part in items:
            yield repr(key)
            yield from _digest(part, seen)
        if isinstance(value, defaultdict):
            yield repr(value.default_factory)
    elif isinstance(value, (list, tuple, deque)):
        base = next(base for base in (list, tuple, deque) if isinstance(value, base))
        yield value.maxlen if isinstance(value, deque) else None
        for part in base.__iter__(value):
            yield from _digest(part, seen)
    elif isinstance(value, (BaseException, functools.partial)):
        yield repr((value.args, getattr(value, "keywords", None)))
    elif isinstance(value, (int, float, str, bytes, set, frozenset, bytearray, array)):
        yield repr(kinds.content(value))


def followed(env: gym.Env, actions: list[int]) -> list[float]:
    """Digests after every step, with a reset at the end."""
    return [float(env.step(action)[0][0]) for action in actions] + [float(env.reset()[0][0])]


def outcome(seed: int) -> str:
    """Whether an environment is copied exactly or refused, wherever its state goes.

    Truth: a twin that was never saved.
    """
    envs = [Random(seed) for _ in range(3)]
    if seed % 3 == 0:  # the same a layer further out, with one of its attributes outside
        envs = [Watching(env) for env in envs]  # type: ignore[misc]
    source, twin, other = envs
    actions = [int(action) for action in np.random.default_rng(seed).integers(0, 2, 2 * STEPS)]
    for env in (source, twin):
        env.reset(seed=seed)
        followed(env, actions[:STEPS])
    other.reset(seed=seed + 1)
    followed(other, actions[STEPS:])
    try:
        state = clone_state(source)
        expected = followed(twin, actions)
        found = [followed(source, actions)]
        for env in (source, other, source):
            try:
                restore_state(env, state)
            except CannotCloneError as error:  # it lacks a function that the other one made
                assert "function" in error.reason
                continue
            found.append(followed(env, actions))
        restore_state(source, state)
        found.append(followed(copy_env(source), actions))
    except CannotCloneError as error:
        assert "Random.a" in error.where or "Watching." in error.where, error
        return "refused"
    return "exact" if all(digests == expected for digests in found) else "wrong"


class Watching(gym.Wrapper):
    """Holds what the environment inside holds, under names of its own."""

    def reset(self, **settings: Any) -> Any:
        result = self.env.reset(**settings)
        self.watched = [value for name, value in vars(self.unwrapped).items() if name.startswith("a") and not callable(value)]
        self.first = vars(self.unwrapped).get("a0")
        return self._shown(result[0]), {}

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        return self._shown(obs), *rest

    def _shown(self, obs: np.ndarray) -> np.ndarray:
        found = _digest(
            [self.watched, self.first, sorted(vars(self.unwrapped).items())], {id(self.unwrapped): ("self", self.unwrapped)}
        )
        return obs + crc32(repr(list(found)).encode())


@pytest.mark.parametrize("part", range(5))
def test_random_environments_are_copied_exactly_or_refused(part):
    found = Counter({seed: outcome(seed) for seed in range(part, ENVIRONMENTS, 5)}.items())
    wrong = [seed for seed, verdict in found if verdict == "wrong"]
    assert not wrong
    assert sum(verdict == "exact" for _, verdict in found) > 0.5 * len(found)
