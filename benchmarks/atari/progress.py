"""A run that may be killed: it goes on from its last checkpoint with emulators and random generators as they were."""

import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecFrameStack

from benchmarks.common import Cell
from sb3_trpo.vec_env import clone_rows, restore_rows

EVERY = 10_000  # steps between two rows of the CSV
MINUTES = 5.0  # between two checkpoints


def unfinished(cell: Cell) -> Path:
    """Where a run's model and checkpoints are, which are not committed."""
    return Path("runs") / "atari" / cell.task / f"{cell.name}_seed{cell.seed}.zip"


class Progress(BaseCallback):
    """Writes the CSV and the checkpoints, and ends a run that is good enough.

    :param cell: game, method and seed
    :param write: gets all rows of the CSV
    :param until: mean score at which to end
    """

    def __init__(self, cell: Cell, write: Callable[[list[dict[str, Any]]], None], until: float):
        super().__init__()
        self.write, self.until = write, until
        self.checkpoint = unfinished(cell).with_suffix(".checkpoint")
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.finished = False

    def resume(self, algorithm: type[OnPolicyAlgorithm], env: VecFrameStack) -> OnPolicyAlgorithm:
        """The model of the checkpoint, with environments and random generators as they were."""
        saved = pickle.loads(self.checkpoint.read_bytes())
        model = algorithm.load(self.checkpoint.with_suffix(f".{saved['steps']}.zip"), env, device="cpu", force_reset=False)
        restore_rows(env, saved["environments"])
        th.set_rng_state(saved["torch"])
        np.random.set_state(saved["numpy"])
        self.rows, self.seconds = saved["rows"], saved["seconds"]
        return model

    def _on_training_start(self) -> None:
        self.last_time = self.last_checkpoint = time.perf_counter()

    def _on_rollout_start(self) -> None:
        self._count_time()
        if self.model.num_timesteps >= EVERY * (len(self.rows) + 1):
            self._write_row()
        if self.last_time - self.last_checkpoint > 60.0 * MINUTES:
            self._save()
            self.last_checkpoint = self.last_time

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

    def _save(self) -> None:
        """The model first; the checkpoint that names it takes the place of the last one in a single step."""
        saved = {
            "steps": self.model.num_timesteps,
            "environments": clone_rows(self.training_env),
            "torch": th.get_rng_state(),
            "numpy": np.random.get_state(),
            "rows": self.rows,
            "seconds": self.seconds,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        model = self.checkpoint.with_suffix(f".{self.model.num_timesteps}.zip")
        self.model.save(model)
        part = self.checkpoint.with_suffix(".part")
        part.write_bytes(pickle.dumps(saved))
        os.replace(part, self.checkpoint)
        for old in self.checkpoint.parent.glob(f"{self.checkpoint.stem}.*.zip"):
            if old != model:
                old.unlink()

    def forget(self) -> None:
        """Remove the checkpoint of a run that is over."""
        for file in (self.checkpoint, *self.checkpoint.parent.glob(f"{self.checkpoint.stem}.*.zip")):
            file.unlink(missing_ok=True)
