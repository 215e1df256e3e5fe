"""This TRPO, sb3-contrib's TRPO and SB3's PPO on MuJoCo's tasks: 1,000,000 env steps, ten seeds (PPO five).

Settings are those users take: ours from sb3_trpo/hyperparams/trpo.yml, the others' from RL Zoo. PPO runs once more with
what the search of ``tuning`` finds for it, on the tasks where that is over; where it finds nothing better, PPO has ten seeds
with RL Zoo's settings. Deterministic evaluation, five episodes every 20,000 steps and thirty at the end.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import Cell, Run, Study, markdown
from benchmarks.common.figures import band, save_panels
from benchmarks.common.statistics import difference, interquartile_mean, interval, mean_and_interval
from benchmarks.common.training import Plan, make_run
from benchmarks.learning.comparison_speed import seconds_a_step
from benchmarks.learning.mujoco import FINAL_EPISODES, METHODS, OTHER_TASKS, OTHERS, STEPS, TASKS
from benchmarks.learning.overall import improvement_table, plot_profile, seeds_table
from benchmarks.learning.published import published_table
from benchmarks.learning.scored import STORE, methods, runs
from benchmarks.learning.searched import has_settings, seeds_of, settings_of

POINTS = 50
AXES = (("steps", "million env steps", 1e6), ("seconds", "minutes", 60.0))


def run(cell: Cell) -> Run | None:
    algo, settings = METHODS[cell.variant].algo, settings_of(cell.variant, cell.task)
    return make_run(Plan(algo, cell.task, settings, STEPS, cell.seed, final_episodes=FINAL_EPISODES), cell.changes)


def fastest_finish(env_id: str) -> float:
    """Seconds after which the fastest method has all its steps."""
    return STEPS * min(seconds_a_step(env_id, method) for method in methods(env_id))


def table(tasks: Sequence[str] = TASKS) -> str:
    """Interquartile means over seeds with 95 % intervals."""
    rows = []
    for env_id in tasks:
        for method, found in methods(env_id).items():
            beyond = [np.mean(np.array(run.kl) > run.target_kl) for run in found if run.kl]
            cells = (
                mean_and_interval([run.final for run in found]),
                mean_and_interval([run.area("steps", STEPS) for run in found]),
                mean_and_interval([run.area("seconds", fastest_finish(env_id)) for run in found]),
                f"{STEPS * seconds_a_step(env_id, method) / 60:.1f}",
                f"{np.mean(beyond):.0%} of updates" if beyond else "",
            )
            rows.append([env_id, METHODS[method].label, str(len(found)), *cells])
    head = ("task", "method", "seeds", "final return", "mean over steps", "mean over time", "CPU minutes", "KL beyond δ")
    return markdown.table(head, rows)


def table_of_others() -> str:
    """The same for the tasks beside the five, as far as they have runs."""
    return table([env_id for env_id in OTHER_TASKS if methods(env_id)])


def summary() -> str:
    """Final returns of the methods that have all tasks: a row for each task, a column for each method, the largest bold."""
    rows, shown = [], [method for method in METHODS if all(method in methods(env_id) for env_id in TASKS)]
    for env_id in TASKS:
        finals = {method: [run.final for run in methods(env_id)[method]] for method in shown}
        best = max(finals, key=lambda method: interquartile_mean(finals[method]))
        cells = {
            method: f"**{mean_and_interval(scores)}**" if method == best else mean_and_interval(scores)
            for method, scores in finals.items()
        }
        rows.append([env_id, *cells.values()])
    return markdown.table(["final return", *(METHODS[method].label for method in shown)], rows)


def difference_table() -> str:
    """Ours minus the others', with 95 % intervals."""
    rows = []
    for other in OTHERS:
        for env_id in TASKS:
            ours, theirs = runs(env_id, "sb3_trpo"), runs(env_id, other)
            if ours and theirs:
                final = difference(*([run.final for run in group] for group in (ours, theirs)))
                end = fastest_finish(env_id)
                over_time = difference(*([run.area("seconds", end) for run in group] for group in (ours, theirs)))
                rows.append([METHODS[other].label, env_id, final, over_time])
    return markdown.table(["sb3_trpo minus …", "task", "final return", "mean return over the fastest's time"], rows)


def plot() -> None:
    """Above against steps, below against time; interquartile mean and its 95 % interval."""
    figure, axes = plt.subplots(2, len(TASKS), figsize=(3.1 * len(TASKS), 5.6), squeeze=False)
    for column, env_id in enumerate(TASKS):
        for row, (key, unit, scale) in enumerate(AXES):
            axis = axes[row, column]
            for method, found in methods(env_id).items():
                end = STEPS * (1.0 if key == "steps" else seconds_a_step(env_id, method))
                places = np.linspace(0.0, end, POINTS + 1)[1:]
                values = np.array([run.curve(key, places) for run in found])
                bounds = np.array([interval(list(point)) for point in values.T]).T
                drawn = METHODS[method]
                band(axis, places / scale, interquartile_mean(values, axis=0), bounds, drawn.color, drawn.label)
            axis.set(xlabel=unit, ylabel="" if column else "return")
            axis.grid(alpha=0.3)
        axes[0, column].set_title(env_id)
    save_panels(figure, axes, STORE.path / "comparison.png", 0.05)


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS + OTHER_TASKS,
    variants=METHODS,
    seeds=tuple(range(10)),
    included=lambda cell: cell.seed < seeds_of(cell.variant, cell.task) and has_settings(cell.variant, cell.task),
    changeable=True,
    tables={
        "comparison": table,
        "summary": summary,
        "differences": difference_table,
        "comparison_others": table_of_others,
        "improvement": improvement_table,
        "seeds": seeds_table,
        "published": published_table,
    },
    plots=(plot, plot_profile),
)
