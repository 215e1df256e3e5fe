"""Instances of classes: which are pickled with all they consist of, and how, without running any code of their classes.

An instance of a Python class consists of its attributes, the values of its slots, and the content of the built-in type that
its class derives from. Each of them is read and written by the methods of the built-in type itself, so nothing that a class
overrides (``__new__``, ``__iter__``, ``__setattr__``, …) has a say in its copy.
"""

import copyreg
import enum
import logging
import re
from array import array
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import cache, partial
from sys import getrefcount
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, SimpleNamespace, UnionType
from typing import Any, NamedTuple

import numpy as np

from sb3_trpo.simulators.layers import name_of

# Classes that Python and others pickle whole, without running a user's code. Classes derived from them do not count.
_NATIVE = frozenset(
    """builtins.range builtins.slice builtins.ellipsis builtins.NotImplementedType collections.deque
    collections.defaultdict functools.partial array.array datetime.date datetime.datetime datetime.time
    datetime.timedelta datetime.timezone decimal.Decimal fractions.Fraction uuid.UUID itertools.count
    pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath pathlib.PureWindowsPath pathlib._local.PosixPath
    pathlib._local.WindowsPath pathlib._local.PurePosixPath pathlib._local.PureWindowsPath logging.RootLogger
    zoneinfo.ZoneInfo operator.itemgetter operator.attrgetter operator.methodcaller
    torch.device torch.dtype torch.memory_format torch.Size
    pandas.Timestamp pandas.Timedelta pandas.Interval pandas.api.typing.NaTType
    pandas._libs.tslibs.timestamps.Timestamp pandas._libs.tslibs.timedeltas.Timedelta pandas._libs.interval.Interval
    pandas._libs.tslibs.nattype.NaTType
    pygame.rect.Rect pygame.rect.FRect pygame.Rect pygame.math.Vector2 pygame.math.Vector3
    pygame.color.Color pygame.Color""".split()
)
_REGISTERED = (complex, re.Pattern, UnionType, np.ufunc)  # whose functions in copyreg are Python's and NumPy's
_SCALARS = frozenset(np.sctypeDict.values()) - {np.void, np.object_}  # a np.void may look into an array
_MAKERS = ("builtins", "numpy", "numpy.dtypes", "logging", "enum")
_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
_KNOWN_HOOKS = ("collections.Counter", "gymnasium.spaces.")  # ignored: their classes are taken apart


class _Base(NamedTuple):
    """The content of a built-in type.

    :param given: what ``__new__`` needs, for what cannot change afterwards
    :param content: the rest, which may lead back to the instance
    :param fill: puts the rest in
    """

    given: Callable[[Any], tuple[Any, ...]]
    content: Callable[[Any], Any]
    fill: Callable[[Any, Any], Any]


def _nothing(obj: Any, content: Any = None) -> tuple[()]:
    return ()


def _fill_ordered(obj: Any, items: list[tuple[Any, Any]]) -> None:
    for key, value in items:
        OrderedDict.__setitem__(obj, key, value)


def _fill_default(obj: Any, content: tuple[Any, dict[Any, Any]]) -> None:
    vars(defaultdict)["default_factory"].__set__(obj, content[0])
    dict.update(obj, content[1])


_CHAINED = ("args", "__cause__", "__context__", "__suppress_context__")  # all of an exception but where it was raised


def _fill_exception(obj: Any, content: tuple[Any, ...]) -> None:
    for name, value in zip(_CHAINED, content, strict=True):
        vars(BaseException)[name].__set__(obj, value)


_FIXED: tuple[Any, ...] = (int, float, complex, str, bytes, tuple)
_BASES: dict[type, _Base] = {
    **{kind: _Base(kind.__getnewargs__, _nothing, _nothing) for kind in _FIXED},
    frozenset: _Base(lambda obj: (list(frozenset.__iter__(obj)),), _nothing, _nothing),
    array: _Base(lambda obj: (vars(array)["typecode"].__get__(obj), array.tobytes(obj)), _nothing, _nothing),
    list: _Base(_nothing, list.copy, list.extend),
    set: _Base(_nothing, lambda obj: list(set.__iter__(obj)), set.update),
    bytearray: _Base(_nothing, bytearray.copy, bytearray.extend),
    deque: _Base(
        _nothing,
        lambda obj: (list(deque.__iter__(obj)), vars(deque)["maxlen"].__get__(obj)),
        lambda obj, content: deque.__init__(obj, *content),
    ),
    dict: _Base(_nothing, lambda obj: dict(dict.items(obj)), dict.update),
    OrderedDict: _Base(_nothing, lambda obj: list(OrderedDict.items(obj)), _fill_ordered),
    defaultdict: _Base(
        _nothing,
        lambda obj: (vars(defaultdict)["default_factory"].__get__(obj), dict(dict.items(obj))),
        _fill_default,
    ),
    partial: _Base(
        lambda obj: (len,),  # any function will do until the right one is there
        lambda obj: tuple(vars(partial)[name].__get__(obj) for name in ("func", "args", "keywords")),
        lambda obj, content: partial.__setstate__(obj, (*content, None)),  # type: ignore[attr-defined]
    ),
    SimpleNamespace: _Base(_nothing, _nothing, _nothing),
    BaseException: _Base(
        _nothing, lambda obj: tuple(vars(BaseException)[name].__get__(obj) for name in _CHAINED), _fill_exception
    ),
    object: _Base(_nothing, _nothing, _nothing),
}


class _Layout(NamedTuple):
    """What instances of a class consist of.

    :param base: the built-in type that the class derives from
    :param attributes: of the class that gives them ``__dict__``; None without
    :param slots: all of them, also hidden ones
    :param plain: whether there are attributes only, and Python sets them without running code of the class
    """

    base: type
    attributes: Any
    slots: tuple[Any, ...]
    plain: bool


def _layout(kind: type) -> _Layout:
    base = next(of for of in kind.__mro__ if of in _BASES)
    added = [of for of in kind.__mro__ if of not in base.__mro__]
    slots = tuple(x for of in added if of.__flags__ & _PYTHON for x in vars(of).values() if type(x) is MemberDescriptorType)
    found = (vars(of).get("__dict__") for of in kind.__mro__)
    attributes = next((x for x in found if type(x) in (GetSetDescriptorType, MemberDescriptorType)), None)
    plain = base is object and not slots and attributes is not None and not hasattr(kind, "__getattr__")
    plain = plain and kind.__new__ is object.__new__ and kind.__getattribute__ is object.__getattribute__
    plain = plain and (not hasattr(kind, "__setstate__") or name_of(_definer(kind, "__setstate__")).startswith(_SPACES))
    plain = plain and all(type(vars(of).get("__dict__")) in _NATURAL for of in added)
    return _Layout(base, attributes, slots, plain)


_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class made while Python runs, so that its members are slots
_SPACES = "gymnasium.spaces."  # whose __setstate__ takes over all attributes
_NATURAL = (GetSetDescriptorType, type(None))
layout: Callable[[type], _Layout] = cache(_layout)


def _has_memory(kind: type) -> bool:
    """Whether instances have memory of C code: neither attributes, nor slots, nor their built-in type's."""
    base, _, slots, _ = layout(kind)
    names = [f"slot_{number}" for number in range(len(slots))]
    names += ["__dict__"] * (bool(kind.__dictoffset__) and not base.__dictoffset__)
    names += ["__weakref__"] * (bool(kind.__weakrefoffset__) and not base.__weakrefoffset__)
    # Types of varying size take no slots, but may have attributes
    probe = type("probe", (base,), {} if base.__itemsize__ and names == ["__dict__"] else {"__slots__": names})
    return probe.__basicsize__ != kind.__basicsize__ or probe.__itemsize__ != kind.__itemsize__


def _is_native(kind: type) -> bool:
    """Whether pickling as Python, or the library that the class is from, does it is exact."""
    if name_of(kind) in _NATIVE or kind in _SCALARS:
        return True
    if kind in copyreg.dispatch_table:
        return kind in _REGISTERED
    if issubclass(kind, (np.dtype, logging.Logger, enum.Enum)):
        return all(_definer(kind, hook).__module__ in _MAKERS for hook in _HOOKS)
    return False


def _definer(kind: type, hook: str) -> type:
    return next((base for base in kind.__mro__ if hook in vars(base)), object)


def _is_hidden(kind: type, hook: str) -> bool:
    """Whether a class defines its own pickling: a sign of state that is not in its attributes."""
    definer = _definer(kind, hook)
    function = vars(definer).get(hook)
    if definer in _BASES or getattr(function, "__module__", None) == "dataclasses":  # as Python writes it for frozen slots
        return False
    return not name_of(definer).startswith(_KNOWN_HOOKS)


def _is_built(kind: type) -> bool:
    """Whether instances of a class can be taken apart."""
    if kind is object or hasattr(kind, "__del__") or issubclass(kind, np.generic):
        return False  # known by its identity only; or there is something to end, which a copy would end, too
    return kind not in copyreg.dispatch_table and not any(_is_hidden(kind, hook) for hook in _HOOKS) and not _has_memory(kind)


is_native: Callable[[type], bool] = cache(_is_native)
is_built: Callable[[type], bool] = cache(_is_built)


def why_not(kind: type) -> str:
    """Why instances of a class are neither."""
    if kind is object:
        return "it is a bare object(), which is known by its identity only, and a copy would be another"
    if hasattr(kind, "__del__"):
        return f"{name_of(kind)} has __del__, and a copy would release the same resource a second time"
    if not any(_is_hidden(kind, hook) for hook in _HOOKS):
        return f"{name_of(kind)} has memory of its own, besides attributes"
    return f"{name_of(kind)} pickles itself in its own way, and may leave something out"


def member_name(obj: Any) -> str | None:
    """The name of a member of an ``enum.Enum``, which goes by it; None for combined flags."""
    name = obj._name_
    return name if type(obj).__members__.get(name) is obj else None


def is_kept_by_its_class(obj: Any) -> bool:
    """Whether a class hands out one instance again and again from ``__new__``, so that a copy would be one too many."""
    kind = type(obj)
    if type(getattr(kind, "__new__", None)) is not FunctionType:
        return False
    for owner in (*kind.__mro__, type(kind)):
        for value in vars(owner).values():
            kept: Any = value.values() if hasattr(type(value), "values") else value
            if value is obj or (type(kept) in _COLLECTIONS and any(part is obj for part in kept)):
                return True
    return False


_KEEPING_THEIRS = (SimpleNamespace, OrderedDict)  # whose __dict__ cannot be set
_COLLECTIONS: tuple[type, ...] = (list, tuple, set, frozenset, type({}.values()))


def parts(obj: Any) -> tuple[type, tuple[Any, ...], tuple[Any, ...]]:
    """The built-in type that an instance's class derives from, the arguments of its ``__new__``, and the rest."""
    base, attributes, slots, _ = layout(type(obj))
    of = _BASES[base]
    if base in _KEEPING_THEIRS and getrefcount(attributes.__get__(obj)) != UNSHARED_DICT:
        raise TypeError("something else refers to its __dict__, which cannot be put in place again")
    values = {index: slot.__get__(obj) for index, slot in enumerate(slots) if _has(slot, obj)}
    return base, of.given(obj), (of.content(obj), attributes and attributes.__get__(obj), values)


def _has(slot: Any, obj: Any) -> bool:
    try:
        slot.__get__(obj)
    except AttributeError:
        return False
    return True


def built(kind: type, base: type, given: tuple[Any, ...]) -> Any:
    """An instance with the part of its content that cannot change."""
    return base.__new__(kind, *given)


def fill(obj: Any, rest: tuple[Any, ...]) -> None:
    """Give an instance the rest. Its ``__dict__`` is the given object itself, because something else may refer to it."""
    base, attributes, slots, _ = layout(type(obj))
    content, named, values = rest
    _BASES[base].fill(obj, content)
    if attributes is not None:
        _set_attributes(obj, attributes, named)
    for index, value in values.items():
        slots[index].__set__(obj, value)


def _set_attributes(obj: Any, attributes: Any, named: dict[str, Any]) -> None:
    if layout(type(obj)).base in _KEEPING_THEIRS:
        attributes.__get__(obj).update(named)
    else:
        attributes.__set__(obj, named)


class _Plain:
    pass


# What ``getrefcount(obj.__dict__)`` says where nothing else refers to that
UNSHARED_DICT = (lambda obj: getrefcount(obj.__dict__))(_Plain())


def plain_attributes(obj: Any) -> dict[str, Any] | None:
    """The attributes, where an instance has nothing else and nothing else refers to its ``__dict__``."""
    if not layout(type(obj)).plain or getrefcount(obj.__dict__) != UNSHARED_DICT:
        return None
    return obj.__dict__
