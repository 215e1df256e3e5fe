"""The order of an array's axes in memory.

A network's outputs depend on it in their last bits, and images often have their channels last there.
"""

from typing import NamedTuple

import numpy as np


def memory_order(array: np.ndarray) -> list[int]:
    """Axes from the one with the widest strides in memory to the one with the narrowest."""
    return sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), array.shape[axis] == 1, axis))


def zeros_like_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """So many rows of zeros, in the same order in memory."""
    axes = memory_order(rows)
    shape = (count, *rows.shape[1:])
    return np.zeros([shape[axis] for axis in axes], dtype=rows.dtype).transpose(np.argsort(axes))


class LaidOut(NamedTuple):
    """An array to be sent, which keeps its order in memory.

    :param contiguous: with its axes in the order of memory
    :param axes: which these are
    """

    contiguous: np.ndarray
    axes: list[int]

    @classmethod
    def of(cls, array: np.ndarray) -> "LaidOut":
        axes = memory_order(array)
        return cls(array.transpose(axes), axes)

    def array(self) -> np.ndarray:
        return self.contiguous.transpose(np.argsort(self.axes))


def is_dense(array: np.ndarray) -> bool:
    """Whether there is nothing else between the array's numbers, whatever their order."""
    return bool(LaidOut.of(array).contiguous.flags.c_contiguous)
