"""VecNormalize's running statistics, local to each rank while it collects, and made global once a rollout."""

from collections.abc import Sequence

from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.ranks import Ranks
from sb3_trpo.vec_env import running_statistics
from sb3_trpo.vec_env.moments import Moments, merge


class SharedStatistics:
    """Running statistics that are made equal on all ranks again and again.

    Between two times every rank goes on with its own samples, so what it normalises by differs from the others' by what one
    rollout changes; afterwards mean, variance and count are those of all samples of all ranks.

    :param env: the training environments with their wrappers; they get rank 0's statistics
    :param ranks: whose they are
    """

    def __init__(self, env: VecEnv, ranks: Ranks):
        self.statistics = [statistics for _, _, statistics in running_statistics(env)]
        common = ranks.broadcast([(each.mean, each.var, each.count) for each in self.statistics])
        for statistics, (mean, variance, count) in zip(self.statistics, common, strict=True):
            statistics.mean, statistics.var, statistics.count = mean, variance, count
        self.remember()

    def news(self) -> list[Moments]:
        """What this rank's environments have added since."""
        return [Moments.added(before, now) for before, now in zip(self.before, self.statistics, strict=True)]

    def merge(self, news: Sequence[list[Moments]]) -> None:
        """Take in what every rank's environments have added.

        :param news: of each rank, this one included, in the same order on all of them
        """
        for index, (before, now) in enumerate(zip(self.before, self.statistics, strict=True)):
            merge(before, now, [each[index] for each in news])
        self.remember()

    def remember(self) -> None:
        """Take what all ranks have now as the common ground that news are added to."""
        self.before = [statistics.copy() for statistics in self.statistics]
