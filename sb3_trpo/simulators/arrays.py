"""Arrays in a pickle: by value, or as views of one another, so that what is written to one goes on showing in the other."""

from sys import getrefcount
from typing import Any

import numpy as np

from sb3_trpo.simulators.known_classes import name_of

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


def taken_apart(array: np.ndarray) -> tuple[str, tuple[Any, ...]] | None:
    """Name and arguments of the function here that builds an array again; None where NumPy's own pickling does.

    :raises TypeError: for an array that looks into memory that others may write to
    """
    base, writeable = array.base, array.flags.writeable
    if array.dtype.hasobject and not writeable:
        raise TypeError("it is an array of objects that is not to be written to, which a copy would forget")
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


class Arrays:
    """Builds arrays again."""

    def __init__(self) -> None:
        self._closed: list[np.ndarray] = []

    def array(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype, in_columns: bool, writeable: bool) -> np.ndarray:
        return self._opened(np.ndarray(shape, dtype, data, order="F" if in_columns else "C").copy("K"), writeable)

    def view(self, base: np.ndarray, *args: Any) -> np.ndarray:
        shape, dtype, offset, strides, writeable = args
        return self._opened(np.ndarray(shape, dtype, base, offset, strides), writeable)

    def _opened(self, array: np.ndarray, writeable: bool) -> np.ndarray:
        if not writeable:
            self._closed.append(array)
        return array

    def close(self) -> None:
        """Forbid writing where it was forbidden, after all views are made: some may be written to where their base may not."""
        for array in self._closed:
            array.flags.writeable = False
