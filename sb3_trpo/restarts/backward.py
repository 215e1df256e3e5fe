"""A curriculum along one trajectory: from its last states back to its start (Salimans and Chen 2018)."""

import numpy as np

from sb3_trpo.checks import check_count, check_real, check_type
from sb3_trpo.restarts.sources import Source
from sb3_trpo.restarts.starts import Start, Trajectory


class Backward(Source):
    """Episodes begin near the end of a trajectory, and earlier and earlier as they succeed.

    An episode succeeds if it earns what the trajectory earned from the same state on, less a tolerance. After ``episodes`` of
    them the position moves back by a stride if the success rate was reached, and the stride doubles, up to a tenth of the
    trajectory. If none succeeded, it moves forward by the stride. Where the rate was not reached, the stride is 1 again. Once
    it has succeeded at the first state, episodes begin at the environment's own start.

    An episode that takes many more steps than the trajectory is cut and has failed. Otherwise one lost episode would use up
    the steps of many.

    :param trajectory: from :func:`~sb3_trpo.restarts.record` or an exploration's
    :param success_rate: at which the position moves back, in (0, 1]; 0.2 in the paper
    :param episodes: between two moves, ≥ 1
    :param window: episodes begin in this many states from the position on, ≥ 1
    :param tolerance: share of the trajectory's return from a state on that an episode may fall short of, ≥ 0
    :param lag: env steps beyond the trajectory's length after which an episode is cut, ≥ 0; None: it is not cut. Nor is it if
        the trajectory ends before its own episode does
    :raises TypeError: for something that is no trajectory or no number
    :raises ValueError: for a trajectory without states, or a value out of range
    """

    def __init__(
        self,
        trajectory: Trajectory,
        success_rate: float = 0.2,
        episodes: int = 10,
        window: int = 5,
        tolerance: float = 0.1,
        lag: int | None = 50,
    ):
        check_type("trajectory", trajectory, Trajectory, "what sb3_trpo.restarts.record returns")
        if not trajectory.starts:
            raise ValueError("The trajectory has no states: record one with at least one action.")
        check_real("success_rate", success_rate, 0.0, False, 1.0, True)
        check_real("tolerance", tolerance, 0.0, True, np.inf, False)
        check_count("episodes", episodes, 1)
        check_count("window", window, 1)
        if lag is not None:
            check_count("lag", lag, 0)
        self.starts, self.total = tuple(trajectory.starts), trajectory.total
        self.success_rate, self.episodes, self.window, self.tolerance = success_rate, episodes, window, tolerance
        self.lag = lag if trajectory.over else None
        self.position: int = len(self.starts) - 1
        self.stride = 1
        self.done = False  # whether it has succeeded at the first state
        self.results: list[bool] = []

    def choose(self, rng: np.random.Generator) -> Start | None:
        if self.done:
            return None
        last = min(self.position + self.window, len(self.starts))
        return self.starts[rng.integers(self.position, last)]

    def cut_after(self, start: Start) -> float:
        return float("inf") if self.lag is None else self.starts[0].steps + len(self.starts) + self.lag

    def ended(self, start: Start, total: float) -> None:
        place = start.steps - self.starts[0].steps
        if self.done or not self.position <= place < self.position + self.window:
            return
        demonstrated = self.total - start.total
        self.results.append(total >= demonstrated - self.tolerance * abs(demonstrated))
        if len(self.results) == self.episodes:
            self._move(sum(self.results) / self.episodes)
            self.results = []

    def _move(self, rate: float) -> None:
        last = len(self.starts) - 1
        if rate >= self.success_rate:
            self.done = self.position == 0
            self.position = max(0, self.position - self.stride)
            self.stride = min(2 * self.stride, max(1, len(self.starts) // 10))
        elif rate == 0.0:
            self.position = min(last, self.position + self.stride)
            self.stride = 1
        else:
            self.stride = 1
