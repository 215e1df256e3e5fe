"""Sequences of several lengths side by side in an LSTM, padded behind their ends, where nothing depends on what stands there.

PyTorch runs packed sequences of different lengths step by step, which takes four to thirteen times as long as padded ones.
Those that run together are at least half as long as the longest of them, so that at most half of what is computed is padding,
and all together take at most twice as many steps as the longest one.
"""

from typing import NamedTuple

import numpy as np
import torch as th
from torch import nn


class Group(NamedTuple):
    """Some S of the sequences, T steps long at most.

    :param sequences: which ``[S]``
    :param rows: where each step stands ``[T, S]``; behind a sequence's end, its last one
    :param real: which of them are steps ``[T, S]``
    """

    sequences: th.Tensor
    rows: th.Tensor
    real: th.Tensor


class Padding(NamedTuple):
    """Sequences that stand one after another, in groups of like lengths.

    :param groups: of all sequences
    :param places: where each row is in the groups' steps ``[B]``
    """

    groups: list[Group]
    places: th.Tensor

    @classmethod
    def of(cls, lengths: np.ndarray, device: th.device) -> "Padding":
        first, order = np.cumsum(lengths) - lengths, np.argsort(-lengths, kind="stable")
        groups, rows = [], []
        while len(order):
            longest = lengths[order[0]]
            sequences, order = np.split(order, [int((2 * lengths[order] >= longest).sum())])
            steps, last = np.arange(longest)[:, None], lengths[sequences] - 1
            group = sequences, first[sequences] + np.minimum(steps, last), steps <= last
            rows.append(group[1][group[2]])
            groups.append(Group(*(th.as_tensor(array, device=device) for array in group)))
        return cls(groups, th.as_tensor(np.argsort(np.concatenate(rows)), device=device))

    def outputs(self, lstm: nn.LSTM, features: th.Tensor, begin: tuple[th.Tensor, th.Tensor]) -> th.Tensor:
        """Outputs ``[B, H]`` of the last layer.

        :param lstm: one-directional
        :param features: ``[B, n]``
        :param begin: hidden and cell states that the sequences begin with, each ``[layers, S, H]``
        """
        parts = []
        for sequences, rows, real in self.groups:
            hidden, cell = (states[:, sequences].contiguous() for states in begin)
            parts.append(lstm(features[rows], (hidden, cell))[0][real])
        return th.cat(parts)[self.places]
