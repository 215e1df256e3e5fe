"""Batches of observations: tensors, or dicts of tensors.

And their order in memory, on which the last bits of a network's outputs depend: pictures may have their channels last there.
"""

from typing import NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs


def select(observations: PyTorchObs, rows: slice | th.Tensor) -> PyTorchObs:
    """Rows of a batch; a slice gives views, except where frames are kept once."""
    if isinstance(observations, dict):
        return {key: value[rows] for key, value in observations.items()}
    return observations[rows]


def count(observations: PyTorchObs) -> int:
    """Rows of a batch."""
    return len(next(iter(observations.values())) if isinstance(observations, dict) else observations)


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
