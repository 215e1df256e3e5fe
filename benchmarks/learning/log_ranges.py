"""Which numbers of the log are usual: those of every update of one run of 200,000 steps with each task's settings."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.training import make_model, settings_for
from benchmarks.learning.mujoco import TASKS
from sb3_trpo import TRPO

STORE = Runs("log_ranges")
STEPS, SEED = 200_000, 501
KEPT = (
    *("is_line_search_success", "kl_divergence_loss", "kl_max", "expected_improvement", "actual_improvement"),
    *("backtracks", "cg_residual", "explained_variance"),
)
SHOWN: dict[str, Callable[[pd.DataFrame, float], pd.Series]] = {
    "steps taken": lambda log, target_kl: 100.0 * log["is_line_search_success"],
    "KL, % of `target_kl`": lambda log, target_kl: 100.0 * log["kl_divergence_loss"] / target_kl,
    "largest KL over the mean": lambda log, target_kl: log["kl_max"] / log["kl_divergence_loss"],
    "actual over expected improvement": lambda log, target_kl: log["actual_improvement"] / log["expected_improvement"],
    "backtracks": lambda log, target_kl: log["backtracks"],
    "`cg_residual`": lambda log, target_kl: log["cg_residual"],
    "explained variance, second half": lambda log, target_kl: log["explained_variance"][len(log) // 2 :],
}


class Updates(BaseCallback):
    """Keeps what every update has logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        logged: dict[str, Any] = self.model.last_update  # type: ignore[attr-defined]
        if logged:
            self.rows.append({name: float(f"{logged[f'train/{name}']:.6g}") for name in KEPT})

    def _on_training_end(self) -> None:
        self._on_rollout_start()


def run(cell: Cell) -> Run:
    settings = {**settings_for("sb3_trpo", cell.task), **cell.changes}
    updates = Updates()
    make_model(TRPO, cell.task, settings, cell.seed).learn(STEPS, callback=updates)
    return Run(updates.rows, {"settings": settings, "seed": cell.seed})


def table() -> str:
    """Median over updates, and the range of nine tenths of them; of the first row the mean."""
    rows = []
    for env_id in TASKS:
        for path in STORE.paths(env_id):
            log = pd.read_csv(path)
            target_kl = float(settings_for("sb3_trpo", env_id)["target_kl"])
            taken, *others = (shown(log, target_kl) for shown in SHOWN.values())
            rows.append([env_id, str(len(log)), f"{taken.mean():.0f}%", *map(_cell, others)])
    return markdown.table(["", "updates", *SHOWN], rows)


def _cell(numbers: pd.Series) -> str:
    middle, low, high = (numbers.quantile(share) for share in (0.5, 0.05, 0.95))
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


STUDY = Study(run=run, store=STORE, tasks=TASKS, seeds=(SEED,), changeable=True, tables={"log_ranges": table})
