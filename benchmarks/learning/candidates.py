"""Changes of a task's settings tried over the comparison's 1,000,000 steps, with seeds that the comparison does not use.

    python -m benchmarks candidates --task HalfCheetah-v5 --label larger_rollouts --set n_steps=1024 target_kl=0.12

The search (``tuning``) trains for 300,000 steps, where boldness pays that a longer run regrets. A candidate's score is the
mean of its evaluations over the second half of a run.
"""

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import Cell, Run, Runs, Study, markdown, notes_of
from benchmarks.common.statistics import decimals
from benchmarks.common.training import Plan, make_run, settings_for
from benchmarks.learning.mujoco import FINAL_EPISODES, OTHER_TASKS, STEPS, TASKS

STORE = Runs("tuning/candidates")


def run(cell: Cell) -> Run | None:
    settings = settings_for("sb3_trpo", cell.task)
    return make_run(Plan("sb3_trpo", cell.task, settings, STEPS, cell.seed, final_episodes=FINAL_EPISODES), cell.changes)


def table() -> str:
    """Mean over the second half of every run, by what a candidate has that the task's settings have not, the best first."""
    rows = []
    for env_id in TASKS + OTHER_TASKS:
        settings = settings_for("sb3_trpo", env_id)
        scores: dict[str, list[float]] = {}
        for path in STORE.paths(env_id):
            means = pd.read_csv(path)["mean"]
            different = _difference(notes_of(path)["settings"], settings)
            scores.setdefault(different, []).append(float(np.mean(means[len(means) // 2 :])))
        for text, found in sorted(scores.items(), key=lambda item: -np.mean(item[1])):
            digits = decimals(found)
            rows.append([env_id, text, f"{np.mean(found):.{digits}f}", ", ".join(f"{score:.{digits}f}" for score in found)])
    return markdown.table(["task", "other settings", "mean", "each seed"], rows)


def _difference(tried: dict[str, Any], settings: dict[str, Any]) -> str:
    tried = {name: value for name, value in tried.items() if value != {}}  # policy_kwargs={} is none
    names = [name for name in {**settings, **tried} if tried.get(name) != settings.get(name)]
    return ", ".join(f"`{name}={tried[name]}`" if name in tried else f"no `{name}`" for name in names) or "**none**"


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS + OTHER_TASKS,
    variants=("as_they_are",),
    seeds=(101, 102),
    changeable=True,
    tables={"candidates": table},
)
