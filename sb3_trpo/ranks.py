"""Mean, maximum, sum, gather and broadcast over the processes of an update, and what they are for one process."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

import torch as th

Report = TypeVar("Report")


class Ranks(Protocol):
    """N processes that take one step together, each with an equal share of the samples.

    Equal shares make a mean over all samples the mean over ranks of their own means. Everything here is called by all
    ranks in the same order.

    :param rank: which of them this is, from 0
    :param size: N
    :param generator: of random numbers that are the same on every rank; None for PyTorch's own where there is one rank
    """

    rank: int
    size: int
    generator: th.Generator | None

    def mean(self, values: th.Tensor) -> th.Tensor:
        """Mean over ranks, elementwise; bit for bit the same on all of them."""
        ...

    def maximum(self, values: th.Tensor) -> th.Tensor:
        """Largest over ranks, elementwise."""
        ...

    def all_reduce(self, tensors: Sequence[th.Tensor]) -> None:
        """Replace tensors by their sums over ranks."""
        ...

    def concatenate(self, rows: th.Tensor) -> th.Tensor:
        """The rows of all ranks in order: ``[B, …]`` from each to ``[N·B, …]`` on all."""
        ...

    def gather(self, report: Report) -> list[Report]:
        """What every rank reports, in order. Anything that can be pickled; waits for ranks that are still collecting."""
        ...

    def broadcast(self, report: Report) -> Report:
        """What rank 0 reports."""
        ...

    def same_random_numbers(self) -> AbstractContextManager[None]:
        """For a while, let PyTorch's own generator give every rank the same numbers."""
        ...


class OneProcess:
    """A process by itself: every reduction is the identity."""

    rank, size = 0, 1
    generator: th.Generator | None = None

    def mean(self, values: th.Tensor) -> th.Tensor:
        return values

    def maximum(self, values: th.Tensor) -> th.Tensor:
        return values

    def all_reduce(self, tensors: Sequence[th.Tensor]) -> None:
        pass

    def concatenate(self, rows: th.Tensor) -> th.Tensor:
        return rows

    def gather(self, report: Report) -> list[Report]:
        return [report]

    def broadcast(self, report: Report) -> Report:
        return report

    def same_random_numbers(self) -> AbstractContextManager[None]:
        return nullcontext()


ALONE = OneProcess()


def mean_and_std(values: th.Tensor, ranks: Ranks) -> tuple[th.Tensor, th.Tensor]:
    """Mean and standard deviation (with Bessel's correction) over the values of all ranks, as many on each.

    Sums are in double precision: the mean of equal values is their value then, and their deviation 0.

    :param values: ``[..., B]``; of a single value on a single rank the deviation is NaN
    :param ranks: the processes
    :return: both ``[...]``, as precise as the values; the deviation is infinite where its square is too large for them
    """
    exact = values.double()
    mean = ranks.mean(exact.mean(dim=-1))
    squares = ranks.size * ranks.mean(((exact - mean[..., None]) ** 2).sum(dim=-1))
    variance = squares / (ranks.size * values.shape[-1] - 1)
    return mean.to(values.dtype), variance.to(values.dtype).sqrt()
