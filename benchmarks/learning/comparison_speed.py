"""Processor time that the methods of the comparison take for an env step, measured in turn.

The comparison's runs are made on many days, some slow and some fast; what one of them took says little about another. So all
methods learn for a while in turn, each with its settings, and the comparison counts a step of a method as the median of its
rounds. One PyTorch thread; evaluation is not counted.
"""

from functools import cache

import numpy as np

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.statistics import median_and_range
from benchmarks.common.training import Plan, train
from benchmarks.learning.mujoco import METHODS, OTHER_TASKS, OTHERS, TASKS
from benchmarks.learning.searched import has_settings, same_as, settings_of

STORE = Rows("comparison/comparison_speed")
STEPS = 24_576  # of a run


def measure(cell: Cell) -> dict[str, float]:
    """µs of an env step, updates included."""
    algo, settings = METHODS[cell.variant].algo, settings_of(cell.variant, cell.task)
    plan = Plan(algo, cell.task, settings, STEPS, cell.seed, every=2 * STEPS, final_episodes=1)
    _, observer = train(plan, report=lambda row: None)
    last = observer.rows[-1]
    return {"microseconds": round(1e6 * last["processor_seconds"] / last["steps"], 1)}


@cache
def measured() -> dict[tuple[str, str], np.ndarray]:
    """µs an env step of every round, by task and method."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in STORE.rows():
        found.setdefault((row["task"], row["variant"]), []).append(row["microseconds"])
    return {key: np.array(values) for key, values in found.items()}


def seconds_a_step(env_id: str, method: str) -> float:
    """Of the processor; of one measurement for all methods, not of the days on which their runs were made."""
    return 1e-6 * float(np.median(measured()[env_id, same_as(method, env_id)]))


def table() -> str:
    """Of the five tasks: medians, and how many times the others take what ours takes, with the range of single rounds."""
    rows, shown = [], [other for other in OTHERS if any((env_id, other) in measured() for env_id in TASKS)]
    for env_id in TASKS:
        ours = measured()[env_id, "sb3_trpo"]
        others = [measured().get((env_id, same_as(other, env_id))) for other in shown]
        cells = (
            "" if other is None else f"{np.median(other):.0f}, {median_and_range(other / ours, '.1f')} times ours"
            for other in others
        )
        rows.append([env_id, f"{np.median(ours):.0f}", *cells])
    return markdown.table(["µs an env step", *(METHODS[method].label for method in ("sb3_trpo", *shown))], rows)


STUDY = Study(
    run=measure,
    store=STORE,
    tasks=TASKS + OTHER_TASKS,
    variants=METHODS,
    seeds=(0, 1, 2),
    included=lambda cell: has_settings(cell.variant, cell.task) and same_as(cell.variant, cell.task) == cell.variant,
    alternated=True,
    tables={"comparison_speed": table},
)
