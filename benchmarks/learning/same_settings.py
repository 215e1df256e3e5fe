"""sb3-contrib's TRPO with this TRPO's settings: how much of the comparison's difference is theirs.

Tasks, steps and evaluation are the comparison's, and so are the runs that the table puts beside these.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import difference, improvement, interquartile_mean
from benchmarks.common.training import Plan, make_run, settings_for
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
    return make_run(plan, cell.changes)


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


def _scores(env_id: str, score: Callable[[Scored], float]) -> tuple[list[float], list[float]]:
    """Of ours and of sb3-contrib's runs with our settings."""
    ours, theirs = runs(env_id, "sb3_trpo"), runs(env_id, "sb3_contrib", STORE)
    return [score(run) for run in ours], [score(run) for run in theirs]


def improvement_table() -> str:
    """Probability that a run of ours scores above one of sb3-contrib's with our settings, by task and over several."""
    largest = "HalfCheetah-v5"  # difference: whether anything is left without it
    groups = {env_id: [env_id] for env_id in TASKS}
    groups |= {"all tasks": [*TASKS], f"all but {largest}": [env_id for env_id in TASKS if env_id != largest]}
    rows = [
        [name, *(improvement([_scores(env_id, score) for env_id in tasks]) for score in SCORES.values())]
        for name, tasks in groups.items()
    ]
    return markdown.table(["sb3_trpo above sb3-contrib, our settings", *SCORES], rows)


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=("sb3_contrib",),
    seeds=tuple(range(10)),
    changeable=True,
    tables={"same_settings": table, "same_settings_improvement": improvement_table},
)
