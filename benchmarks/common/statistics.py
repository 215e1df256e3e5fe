"""Statistics of a few seeds: the interquartile mean, and bootstrap intervals (Agarwal et al. 2021)."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap, trim_mean

RESAMPLES = 10_000


def median_and_range(values: Sequence[float] | np.ndarray, form: str = ".2f") -> str:
    """As text, each number in this format: median (smallest–largest)."""
    middle, low, high = (format(value, form) for value in (np.median(values), np.min(values), np.max(values)))
    return f"{middle} ({low}–{high})"


def interquartile_mean(scores: Sequence[float] | np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of what is left when a quarter of the scores, rounded down, is cut off at each end."""
    return trim_mean(scores, 0.25, axis=axis)


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the interquartile mean."""
    return _bounds((scores,), interquartile_mean)


def interval_of_difference(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the difference of interquartile means, ours less theirs."""

    def difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return interquartile_mean(a, axis) - interquartile_mean(b, axis)

    return _bounds((ours, theirs), difference)


def _bounds(samples: tuple[Sequence[float], ...], statistic) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    if min(map(len, samples)) < 2:
        return float("nan"), float("nan")
    found = bootstrap(samples, statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Of interquartile means, ours less theirs, with its 95 % interval, as text: bold where this has no zero in it."""
    low, high = interval_of_difference(ours, theirs)
    text = f"{interquartile_mean(ours) - interquartile_mean(theirs):+.0f}"
    if not np.isfinite(low):
        return text
    text += f" ({low:+.0f} to {high:+.0f})"
    return f"**{text}**" if low > 0.0 or high < 0.0 else text
