"""The comparison's runs, and what is read off each."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.common import Runs, notes_of
from benchmarks.learning.comparison_speed import seconds_a_step
from benchmarks.learning.mujoco import METHODS, action_dimensions
from benchmarks.learning.searched import same_as

STORE = Runs("comparison")


class Scored(NamedTuple):
    """One run: its evaluations by steps and seconds, the KL of its updates, of the joint action, and its bound, nats.

    sb3-contrib bounds the mean over action dimensions, so d times its ``target_kl`` for the joint action.
    """

    frame: pd.DataFrame
    kl: list[float]
    target_kl: float

    @classmethod
    def read(cls, path: Path) -> "Scored":
        record = notes_of(path)
        env_id, method = path.parent.name, path.stem.rpartition("_seed")[0]
        d = action_dimensions(env_id) if method == "sb3_contrib" else 1
        frame = pd.read_csv(path).assign(seconds=lambda rows: rows["steps"] * seconds_a_step(env_id, method))
        return cls(frame, record["kl"], d * float(record["settings"].get("target_kl") or 0.01))

    @property
    def final(self) -> float:
        return float(self.frame["mean"].iloc[-1])

    def curve(self, column: str, places: np.ndarray) -> np.ndarray:
        """Returns at some steps or seconds; before the first evaluation, that evaluation's."""
        return np.interp(places, self.frame[column], self.frame["mean"])

    def area(self, column: str, end: float) -> float:
        """Mean return up to some step or second."""
        return float(self.curve(column, np.linspace(0.0, end, 1001)).mean())


def runs(env_id: str, method: str, store: Runs = STORE) -> list[Scored]:
    return [Scored.read(path) for path in store.paths(env_id, same_as(method, env_id))]


def methods(env_id: str) -> dict[str, list[Scored]]:
    """The methods that have runs on a task."""
    return {method: found for method in METHODS if (found := runs(env_id, method))}
