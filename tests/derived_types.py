"""Types that derive from built-in ones and have methods of their own, and an environment that holds one."""

import functools
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.simulator_toys import Toy


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
