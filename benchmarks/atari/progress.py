"""What a run of a game has come to, written down while it goes on."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.common import Cell

EVERY = 10_000  # steps between two rows of the CSV


def unfinished(cell: Cell) -> Path:
    """Where a run's model is, which is not committed."""
    return Path("runs") / "atari" / cell.task / f"{cell.name}_seed{cell.seed}.zip"


def checkpoints(cell: Cell) -> Path:
    """Where a run's checkpoints are, as long as it is not over."""
    return unfinished(cell).with_suffix(".checkpoints")


def forget_checkpoints(cell: Cell) -> None:
    shutil.rmtree(checkpoints(cell), ignore_errors=True)


class Progress(BaseCallback):
    """Writes the CSV, and ends a run that is good enough.

    :param write: gets all rows of the CSV
    :param until: mean score at which to end
    """

    def __init__(self, write: Callable[[list[dict[str, Any]]], None], until: float):
        super().__init__()
        self.write, self.until = write, until
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.finished = False

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds, "finished": self.finished}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def _on_training_start(self) -> None:
        self.last_time = time.perf_counter()

    def _on_rollout_start(self) -> None:
        self._count_time()
        if self.model.num_timesteps >= EVERY * (len(self.rows) + 1):
            self._write_row()

    def _on_step(self) -> bool:
        return not self.finished

    def _on_training_end(self) -> None:
        self._count_time()
        self._write_row()

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.seconds, self.last_time = self.seconds + now - self.last_time, now

    def _write_row(self) -> None:
        scores = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        mean = float(np.mean(scores)) if scores else float("nan")
        self.rows.append({"steps": self.model.num_timesteps, "mean": round(mean, 3), "seconds": round(self.seconds, 1)})
        self.finished = len(scores) == self.model._stats_window_size and mean >= self.until
        self.write(self.rows)
        print(self.rows[-1], flush=True)
