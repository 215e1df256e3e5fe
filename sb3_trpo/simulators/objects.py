"""Python objects of any shape, in one pickle: what is shared stays shared, what cannot be copied whole is refused.

Pickling is stricter here than elsewhere. An object is copied if all it consists of can be read and written without running
code of its class (see ``instances``), or if it is of one of a few classes known to copy themselves whole. A class with
pickling of its own may leave anything out (as ``gymnasium.utils.EzPickle`` leaves out everything but the constructor's
arguments) and is refused, and so are generators, threads, sockets, files and C structures. Arrays and random generators are
pickled in parts, which are put together again here (see ``reductions``, ``random_generators``). Functions that have no name
are the target's own, with the saved variables (see ``nameless``).
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from inspect import getattr_static
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.registration import EnvSpec

from sb3_trpo.simulators import instances, pygame_objects, random_generators, reductions
from sb3_trpo.simulators.layers import CannotCloneError
from sb3_trpo.simulators.nameless import (
    Closures,
    Key,
    Matched,
    class_called,
    fingerprint,
    found_by_name,
)
from sb3_trpo.simulators.random_generators import Seeds
from sb3_trpo.simulators.reductions import REDUCERS, Arrays, Entry, array_in_parts, rebuilt, reducer
from sb3_trpo.simulators.saved import HOW_TO_MAKE

_CONTAINERS = (dict, list, set, frozenset, tuple, bytearray)


class Pinned(NamedTuple):
    """What belongs to the environment itself and is not copied.

    :param keys: by id
    :param layers: of the environment; arrays may look into the memory of their simulators
    :param containers: whether lists, dicts and the like may be among it
    """

    keys: Mapping[int, Key]
    layers: Sequence[Any]
    containers: bool


class _Pickler(pickle.Pickler):
    """Pickles by the strict rule; objects that belong to the environment itself are replaced by their key."""

    def __init__(self, file: io.BytesIO, pinned: Pinned):
        super().__init__(file, protocol=5)
        self._pinned = pinned

    def reducer_override(self, obj: Any) -> Any:
        key = self._pinned.keys.get(id(obj))
        if key is not None:
            return rebuilt, (key if key[0] == "closure" else ("pinned", *key))
        kind = type(obj)
        if kind is np.ndarray:
            parts = array_in_parts(obj, self._pinned.layers)
            return NotImplemented if parts is None else (rebuilt, (parts[0], *parts[1]))
        return (REDUCERS.get(kind) or reducer(kind))(obj)


class _ContainerPickler(_Pickler):
    """The same, which also asks whether containers belong to the environment: Python's faster pickler does not ask."""

    def persistent_id(self, obj: Any) -> Key | None:
        return self._pinned.keys.get(id(obj)) if type(obj) in _CONTAINERS else None


class _Unpickler(pickle.Unpickler):
    """Puts the target environment's own objects where their keys stand, and new streams in generators if there are any."""

    def __init__(self, file: io.BytesIO, layers: list[Any], seeds: Seeds | None):
        super().__init__(file)
        self._layers = layers
        self._arrays = Arrays()
        self._random = random_generators.RandomObjects(seeds)
        self.at: Key = ()
        self.matched = Matched(layers)

    def find_class(self, module: str, name: str) -> Any:
        if module == reductions.__name__ and name in ("rebuilt", "filled"):
            return self._rebuilt if name == "rebuilt" else instances.fill
        return class_called(module, name) if module == "__main__" else super().find_class(module, name)

    def persistent_load(self, key: Key) -> Any:
        return self._build_pinned(*key)

    def _rebuilt(self, what: str, *args: Any) -> Any:
        build = _BUILDERS.get(what)
        if build is not None:
            return build(self, *args)
        return getattr(self._arrays if hasattr(self._arrays, what) else self._random, what)(*args)

    def _build_entry(self, *key: Any) -> Key:
        self.at = key
        return key

    def _build_pinned(self, depth: int, *path: str) -> Any:
        if not path:
            return self._layers[depth]
        return vars(self._layers[depth]) if path == ("__dict__",) else vars(self._layers[depth])[path[0]]

    def _build_functions(self, *saved: Any) -> None:
        self.matched.match(*saved)

    def _build_closure(self, number: int) -> FunctionType:
        return self.matched.functions[number]

    def _build_spec(self) -> EnvSpec:
        own, new = self._layers[self.at[0]].spec, object.__new__(EnvSpec)
        vars(new).update({name: getattr(own, name, None) for name in HOW_TO_MAKE})
        return new

    def _build_method(self, owner: Any, function: Any) -> MethodType:
        return MethodType(getattr_static(type(owner), function) if isinstance(function, str) else function, owner)

    def _build_built_in(self, owner: Any, base: type, name: str) -> Any:
        return vars(base)[name].__get__(owner)

    def _build_member(self, kind: Any, name: str) -> Any:
        return kind.__members__[name]

    def _build_surface(self, *parts: Any) -> Any:
        return pygame_objects.surface_of(*parts)

    def _build_clock(self, kind: type) -> Any:
        return kind()

    def _build_class(self, module: str, name: str) -> type:
        return class_called(module, name)

    def _build_instance(self, kind: type, base: type, given: tuple[Any, ...]) -> Any:
        return instances.built(kind, base, given)

    def _build_function(self, module: str, name: str, code: bytes) -> FunctionType:
        """A function by its name, or the target's own one where a script's module has another name than in its process."""
        own = [value for layer in self._layers for value in vars(layer).values()]
        for found in (found_by_name(module, name), *own):
            if type(found) is FunctionType and found.__qualname__ == name and fingerprint(found) == code:
                return found
        raise pickle.UnpicklingError(f"the function {module}.{name} is not found here")

    def load(self) -> Any:
        content = super().load()
        self._arrays.close()
        return content


_BUILDERS = {name.removeprefix("_build_"): build for name, build in vars(_Unpickler).items() if name.startswith("_build_")}


def dump(content: Mapping[Key, Any], functions: Closures, pinned: Pinned) -> bytes:
    """Pickle by the strict rule.

    :param content: attributes and variables of functions, by their keys
    :param functions: that have no names
    :param pinned: what is not copied
    :raises Exception: whatever pickling raises where something cannot be copied
    """
    file = io.BytesIO()
    saved = None
    if functions.found:
        closures = {key: ("closure", number) for number, key in enumerate(functions.found)}
        saved, pinned = functions.saved(), pinned._replace(keys={**closures, **pinned.keys})
    pickler = _ContainerPickler if pinned.containers else _Pickler
    pickler(file, pinned).dump([saved, *((Entry(key), value) for key, value in content.items())])
    return file.getvalue()


def load(data: bytes, layers: list[Any], seeds: Seeds | None) -> tuple[list[tuple[Key, Any]], Matched]:
    """Inverse of :func:`dump`.

    :param data: what was dumped
    :param layers: of the target
    :param seeds: streams for the generators in it, None to leave them as they were
    :return: the content, and the target's functions with the variables that take it
    :raises CannotCloneError: for what can be pickled, but not unpickled
    """
    unpickler = _Unpickler(io.BytesIO(data), layers, seeds)
    try:
        return unpickler.load()[1:], unpickler.matched
    except CannotCloneError:
        raise
    except Exception as error:
        depth, *path = unpickler.at or (0,)
        where = ".".join([type(layers[depth]).__qualname__, *map(str, path)])
        raise CannotCloneError(
            where, f"it can be pickled, but not unpickled here ({type(error).__name__}: {error})"
        ) from error
