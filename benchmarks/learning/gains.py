"""Changes of the method, not of its settings, that might learn more from the same env steps: a screening.

500,000 steps with each task's settings, three seeds that no other study uses. What is ahead here is compared again over
1,000,000 steps (``gains_longer``) before it becomes an option; what is not stays a row of the table.
"""

import numpy as np
import pandas as pd

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import difference
from benchmarks.common.training import Plan, make_run, settings_for
from benchmarks.learning.changes import CHANGES
from benchmarks.learning.mujoco import TASKS

STORE = Runs("gains")
STEPS, SEEDS = 500_000, (201, 202, 203)
SCREENED = {"Ant-v5": {"gae_lambda": 0.95}}  # what trpo.yml had when its screening began, so that its runs stay comparable


def run(cell: Cell) -> Run | None:
    before = {**settings_for("sb3_trpo", cell.task), **SCREENED.get(cell.task, {})}
    settings, methods = CHANGES[cell.variant](before)
    return make_run(Plan("sb3_trpo", cell.task, dict(settings), STEPS, cell.seed, methods=methods), cell.changes)


def means(env_id: str, variant: str) -> dict[int, float]:
    """Mean of all evaluations of a run, by seed."""
    cells = (Cell(env_id, variant, seed) for seed in SEEDS)
    return {cell.seed: pd.read_csv(STORE.file(cell, "csv"))["mean"].mean() for cell in cells if STORE.has(cell)}


def table() -> str:
    """Means over runs, minus those of the method as it is with the same seeds, with 95 % intervals, a row for each change."""
    plain = {env_id: means(env_id, "as it is") for env_id in TASKS}
    own = (f"{np.mean(list(found.values())):.0f}" if found else "" for found in plain.values())
    rows = [["as it is", _counts(plain), *own]]
    for name in list(CHANGES)[1:]:
        changed = {env_id: means(env_id, name) for env_id in TASKS}
        if any(changed.values()):
            rows.append([name, _counts(changed), *(_less(changed[env_id], plain[env_id]) for env_id in TASKS)])
    return markdown.table(["mean over the run", "seeds", *TASKS], rows)


def _counts(found: dict[str, dict[int, float]]) -> str:
    """Seeds of the tasks that have any: one number if all have as many, else the fewest and the most."""
    counts = sorted({len(of_task) for of_task in found.values() if of_task})
    return "–".join(map(str, counts[:1] + counts[1:][-1:]))


def _less(found: dict[int, float], plain: dict[int, float]) -> str:
    seeds = sorted(found.keys() & plain.keys())
    return difference([found[seed] for seed in seeds], [plain[seed] for seed in seeds]) if seeds else ""


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=CHANGES,
    seeds=SEEDS,
    changeable=True,
    tables={"gains": table},
)
