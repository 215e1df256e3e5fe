"""Python objects of any shape, in one pickle: what is shared stays shared, what cannot be copied whole is refused.

Pickling is stricter here than elsewhere. An object is copied if its class leaves pickling to Python, which then takes all
its attributes (and refuses generators, threads, sockets, files and C structures), or if it is one of a few known to copy
themselves whole (see ``whole_classes``). A class with pickling of its own may leave anything out (as
``gymnasium.utils.EzPickle`` leaves out everything but the constructor's arguments) and is refused. Arrays and random
generators go in parts that are put together again in this module (see ``arrays`` and ``random_objects``).
"""

import io
import pickle
from collections.abc import Callable, Mapping
from importlib import import_module
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from sb3_trpo.simulators import arrays, closures, random_objects
from sb3_trpo.simulators.closures import fingerprint, found_by_name, has_name, refuse_hidden_state
from sb3_trpo.simulators.own_classes import class_called, is_nameless
from sb3_trpo.simulators.random_states import Seeds
from sb3_trpo.simulators.stack import CannotCloneError
from sb3_trpo.simulators.whole_classes import is_whole, why_not

Key = tuple[Any, ...]  # a layer's depth, and the names that lead from its attributes to an object


class _Entry:
    """The key of what comes next in a pickle."""

    def __init__(self, key: Key):
        self.key = key


def _rebuilt(what: str, *args: Any) -> Any:
    """Stands in a pickle for one of :class:`_Unpickler`'s methods."""
    raise pickle.UnpicklingError("a simulator's state is read with restore_state")


def _reduced_array(array: np.ndarray) -> Any:
    parts = arrays.taken_apart(array)
    return NotImplemented if parts is None else (_rebuilt, (parts[0], *parts[1]))


def _reduced_function(function: FunctionType) -> Any:
    if function is _rebuilt:
        return NotImplemented
    if not has_name(function):
        raise TypeError(f"the function {function.__qualname__} is not found by its name")
    refuse_hidden_state(function)
    return _rebuilt, ("function", function.__module__, function.__qualname__, fingerprint(function))


def _reduced_method(method: MethodType) -> Any:
    """By its name in the class, for on the instance itself another may stand under that name."""
    function, owner = method.__func__, method.__self__
    if type(function) is not FunctionType or isinstance(owner, type):
        return NotImplemented
    if getattr(type(owner), function.__name__, None) is function:
        return _rebuilt, ("method", owner, function.__name__)
    return _rebuilt, ("method", owner, function)


def _reduced_random(obj: Any) -> Any:
    name, *args = random_objects.taken_apart(obj)
    return _rebuilt, (name, *args)


_REDUCERS: dict[type, Callable[[Any], Any]] = {
    np.ndarray: _reduced_array,
    FunctionType: _reduced_function,
    BuiltinFunctionType: lambda function: NotImplemented,  # goes by name, or with what it belongs to
    MethodType: _reduced_method,
    ModuleType: lambda module: (import_module, (module.__name__,)),
    _Entry: lambda entry: (_rebuilt, ("entry", *entry.key)),
    **dict.fromkeys(random_objects.KINDS, _reduced_random),
}


class _Pickler(pickle.Pickler):
    """Pickles by the strict rule; objects that belong to the environment itself are replaced by their key."""

    def __init__(self, file: io.BytesIO, pinned: Mapping[int, Key]):
        super().__init__(file, protocol=5)
        self._pinned = pinned

    def reducer_override(self, obj: Any) -> Any:
        key = self._pinned.get(id(obj))
        if key is not None:
            return _rebuilt, ("pinned", *key)
        kind = type(obj)
        reducer = _REDUCERS.get(kind)
        if reducer is not None:
            return reducer(obj)
        if isinstance(obj, type):  # classes go by name, or not at all
            return (_rebuilt, ("class", obj.__module__, obj.__qualname__)) if is_nameless(obj) else NotImplemented
        if is_whole(kind):
            return NotImplemented
        raise TypeError(why_not(kind))


class _Unpickler(pickle.Unpickler):
    """Puts the target environment's own objects where their keys stand, and new streams in generators if there are any."""

    def __init__(self, file: io.BytesIO, layers: list[Any], seeds: Seeds | None):
        super().__init__(file)
        self._layers = layers
        self._builders: tuple[Any, ...] = (arrays.Arrays(), random_objects.RandomObjects(seeds))
        self.at: Key = ()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, "_rebuilt"):
            return self._rebuilt
        return class_called(module, name) if module == "__main__" else super().find_class(module, name)

    def _rebuilt(self, what: str, *args: Any) -> Any:
        if what == "entry":
            self.at = args
            return args
        if what == "pinned":
            depth, *path = args
            return closures.function_at(vars(self._layers[depth]), tuple(path)) if path else self._layers[depth]
        if what == "method":
            owner, function = args
            return MethodType(getattr(type(owner), function) if isinstance(function, str) else function, owner)
        if what == "class":
            return class_called(*args)
        if what == "function":
            return self._function(*args)
        return next(getattr(builder, what) for builder in self._builders if hasattr(builder, what))(*args)

    def _function(self, module: str, name: str, code: bytes) -> FunctionType:
        """A function by its name, or the target's own one where a script's module has another name than in its process."""
        own = [value for layer in self._layers for value in vars(layer).values()]
        for found in (found_by_name(module, name), *own):
            if type(found) is FunctionType and found.__qualname__ == name and fingerprint(found) == code:
                return found
        raise pickle.UnpicklingError(f"the function {module}.{name} is not found here")

    def load(self) -> Any:
        content = super().load()
        self._builders[0].close()
        return content


def dump(content: Mapping[Key, Any], pinned: Mapping[int, Key]) -> bytes:
    """Pickle by the strict rule.

    :param content: anything, by the layer and the names that lead to it
    :param pinned: id of an object that is not copied -> a key for it
    :raises Exception: whatever pickling raises where something cannot be copied
    """
    file = io.BytesIO()
    _Pickler(file, pinned).dump([(_Entry(key), value) for key, value in content.items()])
    return file.getvalue()


def load(data: bytes, layers: list[Any], seeds: Seeds | None) -> list[tuple[Key, Any]]:
    """Inverse of :func:`dump`.

    :param data: what was dumped
    :param layers: of the target
    :param seeds: streams for the generators in it, None to leave them as they were
    :raises CannotCloneError: for what can be pickled, but not unpickled
    """
    unpickler = _Unpickler(io.BytesIO(data), layers, seeds)
    try:
        return unpickler.load()
    except Exception as error:
        depth, *path = unpickler.at or (0,)
        where = ".".join([type(layers[depth]).__qualname__, *map(str, path)])
        raise CannotCloneError(
            where, f"it can be pickled, but not unpickled here ({type(error).__name__}: {error})"
        ) from error
