"""Statistics of a few seeds: the interquartile mean, and bootstrap intervals (Agarwal et al. 2021)."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu, trim_mean

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
    """95 % bootstrap interval of the difference of interquartile means, ours minus theirs."""

    def difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return interquartile_mean(a, axis) - interquartile_mean(b, axis)

    return _bounds((ours, theirs), difference)


def probability_of_improvement(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float, float]:
    """That a run of ours scores more than one of theirs on the same task, a tie counting half: mean over tasks.

    :param pairs: scores of ours and theirs on each task
    :return: the probability (Mann and Whitney's U divided by the number of pairs of runs), and its 95 % bootstrap interval
    """
    flat = tuple(np.asarray(scores, dtype=float) for pair in pairs for scores in pair)

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        shares = []
        for ours, theirs in zip(samples[::2], samples[1::2], strict=True):
            pairs_of_runs = ours.shape[axis] * theirs.shape[axis]
            shares.append(mannwhitneyu(ours, theirs, axis=axis, method="asymptotic").statistic / pairs_of_runs)
        return np.mean(shares, axis=0)

    return (float(statistic(*flat)), *_bounds(flat, statistic))


def improvement(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> str:
    """This probability with its interval, as text; arguments as of :func:`probability_of_improvement`."""
    probability, low, high = probability_of_improvement(pairs)
    return f"{probability:.2f}" + (f" ({low:.2f}–{high:.2f})" if np.isfinite(low) else "")


def share_near_median(scores: Sequence[float], within: float = 0.2) -> float:
    """Share of scores whose distance from the median is at most this share of it."""
    middle = np.median(scores)
    return float(np.mean(np.abs(np.asarray(scores) - middle) <= within * abs(middle)))


def _bounds(samples: tuple[Sequence[float] | np.ndarray, ...], statistic) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    if min(map(len, samples)) < 2:
        return float("nan"), float("nan")
    found = bootstrap(samples, statistic, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def decimals(scores: Sequence[float]) -> int:
    """Decimals that scores are shown with: one where they are small, as Reacher's."""
    return 0 if abs(interquartile_mean(scores)) >= 50 else 1


def mean_and_interval(scores: Sequence[float], form: str | None = None) -> str:
    """Interquartile mean with its 95 % interval, as text, each number in this format or with :func:`decimals`."""
    (low, high), form = interval(scores), form or f".{decimals(scores)}f"
    text = format(interquartile_mean(scores), form)
    between = " to " if low < 0.0 else "–"
    return f"{text} ({format(low, form)}{between}{format(high, form)})" if np.isfinite(low) else text


def difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Of interquartile means, ours minus theirs, with its 95 % interval, as text: bold where this has no zero in it."""
    (low, high), digits = interval_of_difference(ours, theirs), decimals(ours)
    text = f"{interquartile_mean(ours) - interquartile_mean(theirs):+.{digits}f}"
    if not np.isfinite(low):
        return text
    text += f" ({low:+.{digits}f} to {high:+.{digits}f})"
    return f"**{text}**" if low > 0.0 or high < 0.0 else text
