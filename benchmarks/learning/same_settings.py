"""sb3-contrib's TRPO with this TRPO's settings: how much of the comparison's difference is theirs.

Tasks, steps and evaluation are the comparison's, and so are the runs that the table puts beside these.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import difference, interquartile_mean
from benchmarks.common.training import Plan, settings_for, train
from benchmarks.learning.mujoco import FINAL_EPISODES, STEPS, TASKS, action_dimensions
from benchmarks.learning.scored import Scored, runs

STORE = Runs("same_settings")
SCORES: dict[str, Callable[[Scored], float]] = {
    "final return": lambda run: run.final,
    "mean over steps": lambda run: run.area("steps", STEPS),
}


def converted(env_id: str) -> dict[str, Any]:
    """Ours in sb3-contrib's terms, for the same step: its KL is the mean over action dimensions."""
    settings, d = settings_for("sb3_trpo", env_id), action_dimensions(env_id)
    scaled = {name: settings[name] / d for name in ("target_kl", "cg_damping")}
    return {**settings, **scaled, "sub_sampling_factor": 1}


def run(cell: Cell) -> Run | None:
    plan = Plan(cell.variant, cell.task, converted(cell.task), STEPS, cell.seed, final_episodes=FINAL_EPISODES)
    return train(plan, cell.changes)


def table() -> str:
    """Interquartile means of final return and of return over steps, the last column with one set of settings for both."""
    rows = []
    for env_id in TASKS:
        found = [runs(env_id, "sb3_contrib"), runs(env_id, "sb3_contrib", STORE), runs(env_id, "sb3_trpo")]
        seeds = ", ".join(str(len(group)) for group in found)
        for name, score in SCORES.items() if found[1] else ():
            scores = [[score(run) for run in group] for group in found]
            means = (f"{interquartile_mean(group):.0f}" for group in scores)
            rows.append([env_id, seeds, name, *means, difference(scores[2], scores[1])])
    methods = ("sb3-contrib, RL Zoo's settings", "sb3-contrib, our settings", "sb3_trpo")
    return markdown.table(["task", "seeds", "score", *methods, "sb3_trpo minus sb3-contrib, our settings"], rows)


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=("sb3_contrib",),
    seeds=tuple(range(10)),
    changeable=True,
    tables={"same_settings": table},
)
