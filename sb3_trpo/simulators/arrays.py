"""Arrays in a pickle: by value, or as views of one another, so that what is written to one goes on showing in the other."""

from collections.abc import Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from sb3_trpo.simulators.known_classes import is_simulator, name_of

# Who may own an array's memory: NumPy itself, bytes, or an array that a library handed over (as ALE does its screen).
_OWNERS = ("builtins.NoneType", "builtins.bytes", "nanobind.")


def _references(array: np.ndarray) -> int:
    """How many refer to the owner of an array's memory."""
    base: Any = array.base
    return getrefcount(base.obj if isinstance(base, memoryview) else base)


# An array that was unpickled looks into a bytearray that nobody else has: such an array may go by value
_UNSHARED = {
    type(array.base): _references(array) for array in (np.frombuffer(bytearray(8)), np.frombuffer(memoryview(bytearray(8))))
}


def taken_apart(array: np.ndarray, layers: Sequence[Any]) -> tuple[str, tuple[Any, ...]] | None:
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
        if type(base) is not np.ndarray or not base.flags.forc or array.dtype.hasobject:
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
    in_columns = bool(array.flags.fnc)
    return "array", (array.tobytes("F" if in_columns else "C"), array.shape, array.dtype, in_columns, writeable)


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

    def array(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype, in_columns: bool, writeable: bool) -> np.ndarray:
        return self._opened(np.ndarray(shape, dtype, data, order="F" if in_columns else "C").copy("K"), writeable)

    def view(self, base: np.ndarray, *args: Any) -> np.ndarray:
        shape, dtype, offset, strides, writeable = args
        return self._opened(np.ndarray(shape, dtype, base, offset, strides), writeable)

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
        """Forbid writing where it was forbidden, after all views are made: some may be written to where their base may not."""
        for array in self._closed:
            array.flags.writeable = False
