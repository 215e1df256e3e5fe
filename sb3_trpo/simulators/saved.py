"""What is saved of single attributes, and how it is brought back."""

from sys import getrefcount
from typing import Any, NamedTuple, Protocol
from weakref import ref
from zlib import compress, decompress

import numpy as np
from gymnasium.envs.registration import EnvSpec

from sb3_trpo.simulators.random_generators import UNSHARED, Seeds

Owner = dict[str, Any]


class Saved(Protocol):
    """The saved state of one attribute."""

    def load(self, owner: Owner, name: str) -> None:
        """Bring ``owner[name]`` into this state."""
        ...

    def reseeded(self, seeds: Seeds) -> "Saved":
        """The same with new streams in its random generators, if it has any."""
        ...


class Constant(NamedTuple):
    """A tuple that cannot change."""

    value: tuple

    def load(self, owner: Owner, name: str) -> None:
        owner[name] = self.value

    def reseeded(self, seeds: Seeds) -> "Constant":
        return self


_LARGE = 2**16
# The last copy of a large array, by its id: as long as the array is as it was, states share that copy
_LAST: dict[int, tuple[ref, "Copy"]] = {}


class Copy(NamedTuple):
    """An array, or a list or dict of constants, to which nothing else refers."""

    value: Any

    @classmethod
    def of(cls, array: np.ndarray) -> "Copy":
        """Of an array in one piece, without objects; the last copy of this very array if nothing was written to it since."""
        last = cls._last(array)
        if last is None:
            last = cls(array.copy())
            last._remember(array)
        return last

    @classmethod
    def _last(cls, array: np.ndarray) -> "Copy | None":
        found = _LAST.get(id(array))
        if found is None or found[0]() is not array:
            return None
        copy, kept = found[1], found[1].value
        if array.dtype is not kept.dtype or array.shape != kept.shape or not array.flags.carray:
            return None
        now, then = (x.reshape(-1).view(np.uint8 if x.nbytes % 8 else np.uint64) for x in (array, kept))
        return copy if np.array_equal(now, then) else None

    def _remember(self, array: np.ndarray) -> None:
        if array.nbytes >= _LARGE:
            key = id(array)
            _LAST[key] = ref(array, lambda _: _LAST.pop(key, None)), self

    def load(self, owner: Owner, name: str) -> None:
        if type(self.value) is not np.ndarray:
            owner[name] = self.value.copy()
        elif not self._is_in(owner, name):
            owner[name] = self.value.copy()
            self._remember(owner[name])

    def _is_in(self, owner: Owner, name: str) -> bool:
        """Whether the attribute is the large array that was copied last to here or from here, and has not changed since."""
        if self.value.nbytes < _LARGE or name not in owner or getrefcount(owner[name]) != UNSHARED:
            return False
        return self._last(owner[name]) is self

    def reseeded(self, seeds: Seeds) -> "Copy":
        return self

    def __reduce__(self) -> Any:
        """Compressed if it is large: two frames of an Atari game shrink to a twentieth of their size, in 1 ms."""
        if type(self.value) is not np.ndarray or self.value.nbytes < _LARGE:
            return Copy, (self.value,)
        return _decompressed, (compress(self.value.tobytes(), level=1), self.value.shape, self.value.dtype)


def _decompressed(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Copy:
    return Copy(np.frombuffer(decompress(data), dtype).reshape(shape))


def nested_copy(value: Any) -> Any:
    """A copy of dicts and lists in one another."""
    if type(value) is dict:
        return {key: nested_copy(part) for key, part in value.items()}
    return value.copy() if type(value) is list else value


class Nested(NamedTuple):
    """A dict of constants, and of lists and dicts of such, to which nothing else refers."""

    value: dict[Any, Any]

    def load(self, owner: Owner, name: str) -> None:
        owner[name] = nested_copy(self.value)

    def reseeded(self, seeds: Seeds) -> "Nested":
        return self


HOW_TO_MAKE = ("entry_point", "vector_entry_point", "additional_wrappers")  # an environment; in its specification


class SpecState(NamedTuple):
    """A specification, as ``gym.make`` leaves it on an environment.

    :param fields: all that it says
    """

    fields: dict[str, Any]

    @classmethod
    def of(cls, spec: EnvSpec) -> "SpecState":
        return cls(nested_copy(spec.__dict__))

    def load(self, owner: Owner, name: str) -> None:
        owner[name] = object.__new__(EnvSpec)
        owner[name].__dict__.update(nested_copy(self.fields))

    def reseeded(self, seeds: Seeds) -> "SpecState":
        return self


class Drawing(NamedTuple):
    """Images and windows: the instance's own, if it has any."""

    def load(self, owner: Owner, name: str) -> None: ...

    def reseeded(self, seeds: Seeds) -> "Drawing":
        return self
