"""What running statistics have taken in, and how what several have taken in apart is put together, exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd


@dataclass(frozen=True)
class Moments:
    """Samples that running statistics have taken in since some time before.

    :param count: how many
    :param first: Σ (x − m), m the mean before
    :param second: Σ (x − m)²
    """

    count: float
    first: np.ndarray
    second: np.ndarray

    @classmethod
    def added(cls, before: RunningMeanStd, now: RunningMeanStd) -> "Moments":
        """About the mean before, whose own first moment is then zero."""
        shift = now.mean - before.mean
        second = now.count * (now.var + shift**2) - before.count * before.var
        return cls(now.count - before.count, now.count * shift, second)


def merge(before: RunningMeanStd, now: RunningMeanStd, news: Sequence[Moments]) -> None:
    """Make statistics those of all samples.

    :param before: as they were for all
    :param now: are written to
    :param news: what each has added since
    """
    count = before.count + sum(each.count for each in news)
    shift = sum(each.first for each in news) / count
    now.mean = before.mean + shift
    now.var = (before.var * before.count + sum(each.second for each in news)) / count - shift**2
    now.count = count
