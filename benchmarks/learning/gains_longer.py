"""What was ahead in the screening of ``gains``, again over 1,000,000 steps, with the comparison's seeds.

Its runs are compared with the comparison's runs of the same seeds.
"""

import pandas as pd

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import difference
from benchmarks.common.training import Plan, make_run, settings_for
from benchmarks.learning.changes import CHANGES
from benchmarks.learning.mujoco import FINAL_EPISODES, STEPS, TASKS
from benchmarks.learning.scored import STORE as COMPARISON

STORE = Runs("gains_longer")
AHEAD = ("clipped actions",)
SEEDS = tuple(range(10))


def run(cell: Cell) -> Run | None:
    settings, methods = CHANGES[cell.variant](settings_for("sb3_trpo", cell.task))
    plan = Plan("sb3_trpo", cell.task, dict(settings), STEPS, cell.seed, final_episodes=FINAL_EPISODES, methods=methods)
    return make_run(plan, cell.changes)


def table() -> str:
    """Minus the comparison's runs with the same seeds, with 95 % intervals."""
    rows = []
    for name in AHEAD:
        for env_id in TASKS:
            seeds = [seed for seed in SEEDS if STORE.has(Cell(env_id, name, seed))]
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
    variants=AHEAD,
    seeds=SEEDS,
    changeable=True,
    tables={"gains_longer": table},
)
