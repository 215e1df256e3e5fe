"""VecNormalize's running statistics, local to each rank while it collects, and made global once a rollout."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_trpo.ranks import Ranks
from sb3_trpo.vec_env import layers, running_statistics

OPTIONS = ("training", "norm_obs", "norm_reward", "norm_obs_keys", "clip_obs", "clip_reward", "gamma", "epsilon")


@dataclass(frozen=True)
class Moments:
    """Samples that running statistics have taken in since all ranks last had the same.

    :param count: how many
    :param first: Σ (x − m), m the mean that all ranks had
    :param second: Σ (x − m)²
    """

    count: float
    first: np.ndarray
    second: np.ndarray


def wrappers(env: VecEnv | None) -> list[tuple[str, dict[str, object]]]:
    """The VecEnv wrappers, outermost first, with the options of each ``VecNormalize``."""
    found = []
    for wrapper in layers(env):
        options = OPTIONS if isinstance(wrapper, VecNormalize) else ()
        found.append((type(wrapper).__name__, {name: getattr(wrapper, name) for name in options}))
    return found


class SharedStatistics:
    """Running statistics that are made equal on all ranks again and again.

    Between two times every rank goes on with its own samples, so what it normalises by differs from the others' by what one
    rollout changes; afterwards mean, variance and count are those of all samples of all ranks.

    :param env: the training environments with their wrappers; they get rank 0's statistics
    :param ranks: whose they are
    """

    def __init__(self, env: VecEnv, ranks: Ranks):
        self.statistics = [statistics for _, _, statistics in running_statistics(env)]
        common = ranks.first([(each.mean, each.var, each.count) for each in self.statistics])
        for statistics, (mean, variance, count) in zip(self.statistics, common, strict=True):
            statistics.mean, statistics.var, statistics.count = mean, variance, count
        self.remember()

    def news(self) -> list[Moments]:
        """What this rank's environments have added since."""
        return [_added(before, now) for before, now in zip(self.before, self.statistics, strict=True)]

    def merge(self, news: Sequence[list[Moments]]) -> None:
        """Take in what every rank's environments have added.

        :param news: of each rank, this one included, in the same order on all of them
        """
        for index, (before, now) in enumerate(zip(self.before, self.statistics, strict=True)):
            count = before.count + sum(each[index].count for each in news)
            shift = sum(each[index].first for each in news) / count
            now.mean = before.mean + shift
            now.var = (before.var * before.count + sum(each[index].second for each in news)) / count - shift**2
            now.count = count
        self.remember()

    def remember(self) -> None:
        """Take what all ranks have now as the common ground that news are added to."""
        self.before = [statistics.copy() for statistics in self.statistics]


def _added(before: RunningMeanStd, now: RunningMeanStd) -> Moments:
    """About the mean before, whose own first moment is then zero."""
    shift = now.mean - before.mean
    return Moments(now.count - before.count, now.count * shift, now.count * (now.var + shift**2) - before.count * before.var)
