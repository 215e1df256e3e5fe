"""How objects are taken apart, by their class: into a name where one leads to them, else into parts.

Arrays are pickled by value, or as views of one another, so that what is written to one still shows in the other.
"""

import copyreg
import enum
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from inspect import getattr_static
from sys import getrefcount
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from sb3_trpo.memory_order import LaidOut, is_dense
from sb3_trpo.simulators import instances, pygame_objects, random_generators
from sb3_trpo.simulators.layers import is_simulator, name_of
from sb3_trpo.simulators.nameless import (
    Key,
    SavedFunctions,
    fingerprint,
    found_by_name,
    has_name,
    is_nameless,
    refuse_hidden_state,
)
from sb3_trpo.simulators.saved import HOW_TO_MAKE

# What may own an array's memory: NumPy itself, bytes, or an array that a library handed over (as ALE does its screen).
_OWNERS = ("builtins.NoneType", "builtins.bytes", "nanobind.")


def _references(array: np.ndarray) -> int:
    """How many references there are to the owner of an array's memory."""
    base: Any = array.base
    return getrefcount(base.obj if isinstance(base, memoryview) else base)


# An unpickled array looks into a bytearray to which nothing else refers: such an array may be pickled by value
_UNSHARED = {
    type(array.base): _references(array) for array in (np.frombuffer(bytearray(8)), np.frombuffer(memoryview(bytearray(8))))
}


def array_in_parts(array: np.ndarray, layers: Sequence[Any]) -> tuple[str, tuple[Any, ...]] | None:
    """Name and arguments of the function here that builds an array again; None where NumPy's own pickling does.

    :param layers: of the environment, into the memory of whose simulators arrays may look
    :raises TypeError: for an array that looks into memory that others may write to
    """
    base, writeable = array.base, array.flags.writeable
    if array.dtype.hasobject and not writeable:
        raise TypeError("it is an array of objects that is not to be written to, which a copy would forget")
    if array.dtype.metadata:
        raise TypeError("it is an array whose dtype has metadata, which a copy would forget")
    if name_of(type(base.base if isinstance(base, np.ndarray) else base)) == "builtins.PyCapsule":
        for simulator in (value for layer in layers for value in vars(layer).values() if is_simulator(type(value))):
            field = _field(array, simulator)
            if field is not None:
                return "field", (simulator, field[0], array.shape, array.dtype, field[1], array.strides, writeable)
        raise TypeError("it is an array that looks into memory which is not part of the state of a simulator here")
    if isinstance(base, np.ndarray):
        if type(base) is not np.ndarray or not is_dense(base) or array.dtype.hasobject:
            raise TypeError("it is an array that looks into another one in a way that cannot be repeated")
        offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        return "view", (base, array.shape, array.dtype, offset, array.strides, writeable)
    owner = base.obj if isinstance(base, memoryview) else base
    if type(owner) is bytearray:
        del owner  # counts as a reference
        if _references(array) > _UNSHARED[type(base)]:
            raise TypeError("it is an array that looks into a bytearray that something else has, too")
    elif not name_of(type(owner)).startswith(_OWNERS):
        raise TypeError(f"it is an array that looks into the memory of {name_of(type(owner))}")
    if array.dtype.hasobject:
        return None
    laid_out = LaidOut.of(array)
    return "array", (laid_out.contiguous.tobytes(), laid_out.contiguous.shape, array.dtype, laid_out.axes, writeable)


def _field(array: np.ndarray, simulator: Any) -> tuple[str, int] | None:
    """The name of the simulator's array that an array is all or a part of, and how many bytes into it that begins."""
    if not name_of(type(simulator)).startswith("mujoco."):
        return None
    from sb3_trpo.simulators.mujoco_state import memory

    first, steps = array.__array_interface__["data"][0], [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
    low, high = first + sum(min(step, 0) for step in steps), first + sum(max(step, 0) for step in steps) + array.itemsize
    for name, begin, end in memory(simulator):
        if array.size and begin <= low and high <= end:
            return name, first - begin
    return None


class Arrays:
    """Builds arrays again."""

    def __init__(self) -> None:
        self._closed: list[np.ndarray] = []

    def array(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype, axes: list[int], writeable: bool) -> np.ndarray:
        return self._opened(LaidOut(np.ndarray(shape, dtype, data), axes).array().copy("K"), writeable)

    def view(self, base: np.ndarray, *args: Any) -> np.ndarray:
        shape, dtype, offset, strides, writeable = args
        return self._opened(np.ndarray(shape, dtype, LaidOut.of(base).contiguous, offset, strides), writeable)

    def field(self, simulator: Any, name: str, *args: Any) -> np.ndarray:
        """Of the target's own simulator; all of an array is the array that the simulator itself hands out."""
        whole, (shape, dtype, offset, strides, writeable) = getattr(simulator, name), args
        if (whole.shape, whole.dtype, whole.strides, whole.flags.writeable) == (shape, dtype, strides, writeable):
            return whole
        return self._opened(np.ndarray(shape, dtype, whole, offset, strides), writeable)

    def _opened(self, array: np.ndarray, writeable: bool) -> np.ndarray:
        if not writeable:
            self._closed.append(array)
        return array

    def close(self) -> None:
        """Make arrays read-only again, after all views are made: a view may be writable though its base is not."""
        for array in self._closed:
            array.flags.writeable = False


class Entry:
    """The key of what comes next in a pickle."""

    def __init__(self, key: Key):
        self.key = key


def rebuilt(what: str, *args: Any) -> Any:
    """Stands in a pickle for one of the unpickler's methods."""
    raise pickle.UnpicklingError("a simulator's state is read with restore_state")


def _reduced_function(function: FunctionType) -> Any:
    if function in (rebuilt, filled):
        return NotImplemented
    if not has_name(function):
        raise TypeError(f"the function {function.__qualname__} is not found by its name")
    refuse_hidden_state(function)
    return rebuilt, ("function", function.__module__, function.__qualname__, fingerprint(function))


def filled(obj: Any, rest: Any) -> None:
    """The same for :func:`sb3_trpo.simulators.instances.fill`."""
    raise pickle.UnpicklingError("a simulator's state is read with restore_state")


def _reduced_compiled(function: Any) -> Any:
    """A function of Cython's, which a class in C names in its pickles."""
    if found_by_name(function.__module__, function.__qualname__) is not function:
        raise TypeError(f"the function {function.__qualname__} is not found by its name")
    return NotImplemented


def _reduced_surface(surface: Any) -> Any:
    if not pygame_objects.is_surface(surface):
        raise TypeError("it is pygame's window, of which a process has one only")
    return rebuilt, ("surface", *pygame_objects.surface_in_parts(surface))


def _reduced_clock(clock: Any) -> Any:
    return rebuilt, ("clock", type(clock))


def _reduced_method(method: MethodType) -> Any:
    """By its name in the class, because the instance itself may have something else under that name."""
    function, owner = method.__func__, method.__self__
    name = getattr(function, "__name__", "")
    if issubclass(type(owner), type):
        if getattr(getattr_static(owner, name, None), "__func__", None) is function:
            return NotImplemented
    elif getattr_static(type(owner), name, None) is function:
        return rebuilt, ("method", owner, name)
    if type(function) is FunctionType:
        return rebuilt, ("method", owner, function)
    raise TypeError(f"it is a method made of a {type(function).__qualname__}, which its class does not have")


def _reduced_built_in(function: BuiltinFunctionType) -> Any:
    """By its name; a method of an object by the class that defines it, because a subclass may have another of that name."""
    owner, name = function.__self__, function.__name__
    if owner is None or issubclass(type(owner), (type, ModuleType)):
        return NotImplemented
    for base in type(owner).__mro__:
        found = vars(base).get(name)
        if type(found) is MethodDescriptorType and found.__get__(owner) == function:
            return rebuilt, ("built_in", owner, base, name)
    raise TypeError(f"it is the method {name} of {type(owner).__qualname__}, which its class does not have")


def _reduced_dtype(dtype: np.dtype) -> Any:
    """NumPy has one object for each of its own dtypes, and pickles make others."""
    if dtype.metadata:
        raise TypeError("it is a dtype with metadata, which a copy would forget")
    return (np.dtype, (dtype.str,)) if np.dtype(dtype.str) is dtype else NotImplemented


def _reduced_module(module: ModuleType) -> Any:
    if sys.modules.get(module.__name__) is not module:
        raise TypeError(f"the module {module.__name__} is not found by its name")
    return import_module, (module.__name__,)


def _reduced_by_python(obj: Any) -> Any:
    return NotImplemented


def _reduced_class(kind: type) -> Any:
    return (rebuilt, ("class", kind.__module__, kind.__qualname__)) if is_nameless(kind) else NotImplemented


def _reduced_member(obj: enum.Enum) -> Any:
    """By its name; combined flags, which have none, as Python does it."""
    name = instances.member_name(obj)
    if name is not None:
        return rebuilt, ("member", type(obj), name)
    if instances.is_native(type(obj)):
        return NotImplemented
    raise TypeError(instances.why_not(type(obj)))


def _reduced_instance(obj: Any) -> Any:
    """An instance of a class that can be taken apart; in Python's way, which is faster, where the result is the same."""
    attributes = instances.plain_attributes(obj)
    if attributes is not None:
        return copyreg.__newobj__, (type(obj),), attributes or None  # type: ignore[attr-defined]
    if instances.is_kept_by_its_class(obj):
        raise TypeError(f"it is an instance that its class {type(obj).__qualname__} keeps, and a copy would be another")
    base, given, rest = instances.parts(obj)
    return rebuilt, ("instance", type(obj), base, given), rest, None, None, filled


def _reduced_random(obj: Any) -> Any:
    name, *args = random_generators.taken_apart(obj)
    return rebuilt, (name, *args)


def _reduced_spec(spec: EnvSpec) -> Any:
    """Without what makes the environment, perhaps a script's own functions: the target was made in the same way."""
    return rebuilt, ("spec",), {name: value for name, value in vars(spec).items() if name not in HOW_TO_MAKE}


REDUCERS: dict[type, Callable[[Any], Any]] = {
    FunctionType: _reduced_function,
    BuiltinFunctionType: _reduced_built_in,
    MethodType: _reduced_method,
    ModuleType: _reduced_module,
    Entry: lambda entry: (rebuilt, ("entry", *entry.key)),
    EnvSpec: _reduced_spec,
    SavedFunctions: lambda saved: (rebuilt, ("functions", *saved)),
    **dict.fromkeys(random_generators.KINDS, _reduced_random),
}


def _reducer_of(kind: type) -> Callable[[Any], Any]:
    """How instances of a class that is not in the table are pickled.

    :raises TypeError: if they cannot be copied whole
    """
    if issubclass(kind, type):  # classes are pickled by name, or not at all
        return _reduced_class
    if issubclass(kind, enum.Enum):
        return _reduced_member
    if name_of(kind) in ("pygame.Surface", "pygame.surface.Surface"):
        return _reduced_surface
    if pygame_objects.is_clock(kind):
        return _reduced_clock
    if kind.__name__ == "cython_function_or_method":
        return _reduced_compiled
    if instances.is_native(kind):
        return _reduced_dtype if issubclass(kind, np.dtype) else _reduced_by_python
    if instances.is_built(kind):
        return _reduced_instance
    raise TypeError(instances.why_not(kind))


reducer: Callable[[type], Callable[[Any], Any]] = cache(_reducer_of)
