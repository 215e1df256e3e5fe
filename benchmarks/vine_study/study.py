"""When does the vine learn more from a simulator step than single path does?

Equal simulator steps, branches included; five seeds; five deterministic episodes from the task's own starts every tenth of a
run, which is scored by its mean over steps.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.figures import save_panels
from benchmarks.common.statistics import interquartile_mean, interval_of_difference
from benchmarks.common.training import Plan, make_run
from benchmarks.vine_study.tasks import TASKS
from benchmarks.vine_study.variants import COMMON, VARIANTS

STORE = Runs("vine_study", kept="")
EVALUATIONS = 10  # in a run
SINGLE_PATHS = ("GAE", "GAE, 2 environments")
COLORS = {  # of what is drawn: the table has all
    "GAE": "tab:blue",
    "GAE, 2 environments": "lightsteelblue",
    "Monte Carlo": "tab:cyan",
    "vine": "tab:red",
    "vine without critic": "tab:pink",
    "hybrid": "tab:purple",
    "shadows, 8 × 1": "tab:green",
}
POINTS = 10


def area(run: pd.DataFrame, steps: int) -> float:
    """Mean return up to the steps of a run."""
    return float(_at(run, np.linspace(0.0, steps, 501)).mean())


def _at(run: pd.DataFrame, steps: np.ndarray) -> np.ndarray:
    return np.interp(steps, run["steps"], run["mean"])


def table() -> str:
    """Interquartile mean over seeds of a run's mean return; 95 % interval of its difference from the better single path."""
    scores = {variant: [_scores(task, variant) for task in TASKS] for variant in VARIANTS}
    paths = zip(*(scores[name] for name in SINGLE_PATHS), strict=True)
    bases: list[list[float]] = [max(filter(None, found), key=interquartile_mean, default=[]) for found in paths]
    rows = []
    for variant, found in scores.items():
        seeds = [len(own) for own in found if own]
        others = [[] for _ in TASKS] if variant in SINGLE_PATHS else bases
        rows.append(
            [variant, "–".join(map(str, sorted({min(seeds), max(seeds)}))) if seeds else "", *map(_cell, TASKS, found, others)]
        )
    return markdown.table(["", "seeds", *(f"{name}, {task.kind}" for name, task in TASKS.items())], rows)


def _scores(task: str, variant: str) -> list[float]:
    return [area(run, TASKS[task].steps) for run in STORE.frames(task, variant)]


def _cell(task: str, scores: list[float], base: list[float]) -> str:
    if not scores:
        return ""
    digits = {"sparse rewards": 1, "one reward at the end": 3}.get(TASKS[task].kind, 0)
    text = f"{interquartile_mean(scores):.{digits}f}"
    if not base:
        return text
    low, high = interval_of_difference(scores, base)
    text += f" ({low:+.{digits}f} to {high:+.{digits}f})" if np.isfinite(low) else ""
    return f"**{text}**" if high >= 0.0 else text


def plot() -> None:
    """Interquartile mean over seeds against simulator steps, one panel a task."""
    figure, axes = plt.subplots(1, len(TASKS), figsize=(3.4 * len(TASKS), 3.8), squeeze=False)
    for axis, (name, task) in zip(axes.flat, TASKS.items(), strict=True):
        steps = np.linspace(0.0, task.steps, POINTS + 1)[1:]
        for variant, color in COLORS.items():
            if runs := STORE.frames(name, variant):
                curve = interquartile_mean(np.array([_at(run, steps) for run in runs]), axis=0)
                axis.plot(steps / 1000, curve, color=color, label=variant)
        axis.set(title=f"{name}\n{task.kind}", xlabel="thousand simulator steps")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("return")
    save_panels(figure, axes, STORE.path / "vine_study.png", 0.08)


def run(cell: Cell) -> Run | None:
    task, chosen = TASKS[cell.task], VARIANTS[cell.variant]
    settings = {**COMMON, **task.settings, **chosen.settings}
    wrap = partial(chosen.wrap, cell.seed) if chosen.wrap else None
    every = task.steps // EVALUATIONS
    plan = Plan("sb3_trpo", cell.task, settings, task.steps, cell.seed, every, wrap=wrap, methods=chosen.methods)
    return make_run(plan, cell.changes)


def belongs(cell: Cell) -> bool:
    only = VARIANTS[cell.variant].only
    return only is None or cell.task in only


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=VARIANTS,
    seeds=(0, 1, 2, 3, 4),
    included=belongs,
    changeable=True,
    tables={"vine_study": table},
    plots=(plot,),
)
