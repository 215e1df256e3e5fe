"""Python objects of any shape, in one pickle: what is shared stays shared, what cannot be copied whole is refused.

Pickling is stricter here than elsewhere. An object is copied if its class leaves pickling to Python, which then takes all
its attributes (and refuses generators, threads, sockets, files and C structures), or if it is one of a few known to copy
themselves whole. A class with pickling of its own may leave anything out (as ``gymnasium.utils.EzPickle`` leaves out
everything but the constructor's arguments) and is refused.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from functools import cache
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from sb3_trpo.simulators.random_states import GeneratorState, Seeds
from sb3_trpo.simulators.stack import name_of

# Classes that pickle themselves whole, or whose subclasses inherit pickling that is.
_WHOLE = frozenset(
    """builtins.object builtins.set builtins.frozenset builtins.bytearray builtins.complex builtins.range builtins.slice
    builtins.BaseException collections.deque collections.OrderedDict collections.defaultdict collections.Counter
    functools.partial array.array random.Random _random.Random datetime.date datetime.datetime datetime.time
    datetime.timedelta datetime.timezone decimal.Decimal fractions.Fraction pathlib.PurePath pathlib._local.PurePath uuid.UUID
    itertools.count enum.Enum numpy.dtype numpy.random.mtrand.RandomState""".split()
)
_WHOLE_MODULES = ("gymnasium.spaces.", "numpy.dtypes.")
# Who may own an array's memory: NumPy itself, bytes, or an array that a library handed over (as ALE does its screen).
_OWNERS = ("builtins.NoneType", "builtins.bytes", "builtins.bytearray", "nanobind.")
_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")

Key = tuple[Any, ...]


def _is_whole(kind: type) -> bool:
    """Whether instances of a class are pickled with all they consist of."""
    definers = [next((base for base in kind.__mro__ if hook in vars(base)), object) for hook in _HOOKS]
    return all(name_of(d) in _WHOLE or name_of(d).startswith(_WHOLE_MODULES) or issubclass(d, np.generic) for d in definers)


_pickles_whole: Callable[[type], bool] = cache(_is_whole)


class _Pickler(pickle.Pickler):
    """Pickles by the strict rule; objects that belong to the environment itself are replaced by their key."""

    def __init__(self, file: io.BytesIO, pinned: Mapping[int, Key]):
        super().__init__(file, protocol=5)
        self._pinned = pinned

    def reducer_override(self, obj: Any) -> Any:
        key = self._pinned.get(id(obj))
        if key is not None:
            return _pinned, key
        kind = type(obj)
        if kind is np.ndarray:
            return _reduced_array(obj)
        if kind is np.random.Generator:
            return _generator, (GeneratorState.of(obj).state,)
        if kind in (FunctionType, BuiltinFunctionType, MethodType) or isinstance(obj, type) or _pickles_whole(kind):
            return NotImplemented  # functions and classes go by name, or not at all
        raise TypeError(f"{name_of(kind)} pickles itself in its own way, and may leave something out")


class _Unpickler(pickle.Unpickler):
    """Puts the target environment's own objects where their keys stand, and new streams in generators if there are any."""

    def __init__(self, file: io.BytesIO, resolve: Callable[[Key], Any], seeds: Seeds | None):
        super().__init__(file)
        self._resolve, self._seeds = resolve, seeds

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__ and name == "_pinned":
            return lambda *key: self._resolve(key)
        if module == __name__ and name == "_generator":
            return self._generator
        return super().find_class(module, name)

    def _generator(self, state: dict[str, Any]) -> np.random.Generator:
        saved = GeneratorState(state)
        return (saved if self._seeds is None else saved.reseeded(self._seeds)).generator()


def _pinned(*key: Any) -> Any:
    """Stands in a pickle for an object that is not copied; the unpickler puts its own function here."""
    raise pickle.UnpicklingError("a simulator's state is read with restore_state")


def _generator(state: dict[str, Any]) -> np.random.Generator:
    """Stands in a pickle for a random generator; the unpickler puts its own function here."""
    raise pickle.UnpicklingError("a simulator's state is read with restore_state")


def _reduced_array(array: np.ndarray) -> Any:
    """An array by value, or as a view if it is one: what is written to the one must go on showing in the other."""
    base, writeable = array.base, array.flags.writeable
    if isinstance(base, np.ndarray):
        if type(base) is not np.ndarray or not base.flags.forc or array.dtype.hasobject:
            raise TypeError("it is an array that looks into another one in a way that cannot be repeated")
        offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        return _view, (base, array.shape, array.dtype, offset, array.strides, writeable)
    owner = base.obj if isinstance(base, memoryview) else base
    if not name_of(type(owner)).startswith(_OWNERS):
        raise TypeError(f"it is an array that looks into the memory of {name_of(type(owner))}")
    if array.dtype.hasobject:
        return NotImplemented
    in_columns = bool(array.flags.fnc)
    return _array, (array.tobytes("F" if in_columns else "C"), array.shape, array.dtype, in_columns, writeable)


def _array(data: bytes, shape: tuple[int, ...], dtype: np.dtype, in_columns: bool, writeable: bool) -> np.ndarray:
    array = np.ndarray(shape, dtype, data, order="F" if in_columns else "C").copy("K")
    array.flags.writeable = writeable
    return array


def _view(
    base: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, offset: int, strides: tuple[int, ...], writeable: bool
) -> np.ndarray:
    view = np.ndarray(shape, dtype, base, offset, strides)
    view.flags.writeable = writeable
    return view


def dump(content: Any, pinned: Mapping[int, Key]) -> bytes:
    """Pickle by the strict rule.

    :param content: anything
    :param pinned: id of an object that is not copied -> a key for it
    :raises Exception: whatever pickling raises where something cannot be copied
    """
    file = io.BytesIO()
    _Pickler(file, pinned).dump(content)
    return file.getvalue()


def load(data: bytes, resolve: Callable[[Key], Any], seeds: Seeds | None) -> Any:
    """Inverse of :func:`dump`.

    :param data: what was dumped
    :param resolve: gives the object that a key stands for
    :param seeds: streams for the generators in it, None to leave them as they were
    """
    return _Unpickler(io.BytesIO(data), resolve, seeds).load()
