"""Changes of the method, not of its settings, that might learn more from the same env steps: a screening.

500,000 steps with each task's settings, three seeds that no other study uses. What is ahead here is compared again over
1,000,000 steps with the comparison's ten seeds before it becomes an option; what is not stays a row of the table.
"""

import numpy as np
import pandas as pd

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import difference
from benchmarks.common.training import Plan, settings_for, train
from benchmarks.learning import mujoco
from benchmarks.learning.changes import CHANGES
from benchmarks.learning.mujoco import TASKS
from benchmarks.learning.scored import STORE as COMPARISON

STORE = Runs("gains")
STEPS, SEEDS = 500_000, (201, 202, 203)
SCREENED = {"Ant-v5": {"gae_lambda": 0.95}}  # what trpo.yml had when its screening began, so that its runs stay comparable
LONGER, LONGER_SEEDS = ("clipped actions",), range(10)  # compared again over more steps, with the comparison's seeds


def run(cell: Cell) -> Run | None:
    screening = cell.seed in SEEDS
    before = SCREENED.get(cell.task, {}) if screening else {}
    settings, methods = CHANGES[cell.variant]({**settings_for("sb3_trpo", cell.task), **before})
    steps, episodes = (STEPS, 5) if screening else (mujoco.STEPS, mujoco.FINAL_EPISODES)
    plan = Plan("sb3_trpo", cell.task, dict(settings), steps, cell.seed, final_episodes=episodes, methods=methods)
    return train(plan, cell.changes)


def means(env_id: str, variant: str) -> dict[int, float]:
    """Mean of all evaluations of a run, by seed."""
    cells = (Cell(env_id, variant, seed) for seed in SEEDS)
    return {cell.seed: pd.read_csv(STORE.file(cell, "csv"))["mean"].mean() for cell in cells if STORE.has(cell)}


def table() -> str:
    """Means over runs, less those of the method as it is with the same seeds, with 95 % intervals, a row for each change."""
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


def longer_table() -> str:
    """What was ahead, over 1,000,000 steps, less the comparison's runs with the same seeds, with 95 % intervals."""
    rows = []
    for name in LONGER:
        for env_id in TASKS:
            seeds = [seed for seed in LONGER_SEEDS if STORE.has(Cell(env_id, name, seed))]
            groups = [
                [pd.read_csv(store.file(Cell(env_id, variant, seed), "csv"))["mean"] for seed in seeds]
                for store, variant in ((STORE, name), (COMPARISON, "sb3_trpo"))
            ]
            if seeds:
                of_runs = difference(*([run.mean() for run in group] for group in groups))
                final = difference(*([run.iloc[-1] for run in group] for group in groups))
                rows.append([name, env_id, str(len(seeds)), of_runs, final])
    return markdown.table(["", "task", "seeds", "mean over the run", "final return"], rows)


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=CHANGES,
    seeds=(*SEEDS, *LONGER_SEEDS),
    included=lambda cell: cell.seed in SEEDS or cell.variant in LONGER,
    changeable=True,
    tables={"gains": table, "gains_longer": longer_table},
)
