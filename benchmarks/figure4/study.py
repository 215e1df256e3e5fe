"""The paper's Figure 4: single path, vine and what the paper compares them with, without a critic.

Of the step sizes that are swept, seed 0 decides which one the others take.
"""

from collections.abc import Sequence
from importlib.metadata import version

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.common import Cell, Run, Runs, Study, markdown, notes_of
from benchmarks.common.figures import band, save_panels
from benchmarks.figure4.methods import METHODS, SWEPT, WITHOUT_NOISE, Iterations
from benchmarks.figure4.tasks import LARGE_BATCHES, LONG_HORIZON, PAPER, RADIAL_BASIS, TASKS

COLORS = {
    "single path": "tab:blue",
    "vine": "tab:red",
    "natural gradient": "tab:green",
    "empirical Fisher": "tab:cyan",
    "max KL": "black",
    "CEM": "tab:orange",
    "CMA-ES": "tab:brown",
    "REPS": "tab:purple",
    "vanilla gradient": "tab:gray",
}
POINTS = 60
LAST = 0.1  # share of a run's steps over which its score is taken
SEEDS = (0, 1, 2)
STORE = Runs("figure4", kept=".", kept_of_task=".")


def run(cell: Cell) -> Run:
    task, iterations = TASKS[cell.task], Iterations()
    settings = METHODS[cell.variant](task, cell.seed, iterations)
    described = {name: str(value) for name, value in vars(task).items()}
    notes = {"cma": version("cma"), "task": described, "method": cell.variant, "settings": settings, "seed": cell.seed}
    return Run(iterations.rows, notes)


def belongs(cell: Cell) -> bool:
    """Of the step sizes that are swept all with the first seed, then the best one only."""
    task, swept = TASKS[cell.task], cell.variant.rpartition(",")[0]
    compared = cell.variant in (task.methods or METHODS) and (cell.variant != "max KL" or not task.hidden)
    return compared and (swept not in SWEPT or cell.seed == SEEDS[0] or cell.variant == best_of(cell.task, swept))


def score(run: pd.DataFrame) -> float:
    """Mean undiscounted return of the training episodes in the last tenth of a run's steps."""
    last = run[(run["steps"] > (1.0 - LAST) * run["steps"].iloc[-1]) & (run["episodes"] > 0)]
    return float((last["return"] * last["episodes"]).sum() / last["episodes"].sum())


def best_of(task: str, swept: str) -> str | None:
    """The step size with the highest score of the first seed; None while one of them is missing."""
    paths = {method: STORE.file(Cell(task, method, SEEDS[0]), "csv") for method in SWEPT[swept]}
    scores = {method: score(pd.read_csv(path)) for method, path in paths.items() if path.exists()}
    return max(scores, key=scores.__getitem__) if len(scores) == len(paths) else None


def drawn(task: str) -> dict[str, list[pd.DataFrame]]:
    """Runs by the name in the legend, of swept methods those with the best step size."""
    methods = {name: best_of(task, name) if name in SWEPT else name for name in COLORS}
    return {name: runs for name, method in methods.items() if method and (runs := STORE.frames(task, method))}


def table() -> str:
    """Score of every method on every task; of the swept methods, of every step size."""
    rows = [["counts as done beyond", *(f"{task.goal:.0f}" for task in TASKS.values())]]
    for method in METHODS:
        rows.append([method, *(_cell(list(map(score, STORE.frames(name, method))), t.goal) for name, t in TASKS.items())])
    last = "single path, its last policy without noise"
    rows.append([last, *(_cell(_without_noise(name, "single path"), task.goal) for name, task in TASKS.items())])
    return markdown.table(["", *TASKS], rows)


def _without_noise(task: str, method: str) -> list[float]:
    """Mean returns of the last policy's mean action, of the runs that have them."""
    settings = [notes_of(path)["settings"] for path in STORE.paths(task, method)]
    return [found[WITHOUT_NOISE] for found in settings if WITHOUT_NOISE in found]


def _cell(scores: Sequence[float], goal: float) -> str:
    """Mean, each seed, and how many of them reach the goal."""
    if not scores:
        return ""
    text = f"{np.mean(scores):.0f} ({' · '.join(f'{value:.0f}' for value in scores)})"
    reached = sum(value > goal for value in scores)
    return f"**{text}** {reached} of {len(scores)}" if reached else text


def plot() -> None:
    """The paper's four tasks in one picture, the further settings in another."""
    _plot(list(PAPER), "figure4.png")
    _plot([*RADIAL_BASIS, *LONG_HORIZON, *LARGE_BATCHES], "further_settings.png")


def _plot(tasks: Sequence[str], name: str) -> None:
    """Above against policy iterations, below against simulator steps; mean and range over seeds."""
    figure, axes = plt.subplots(2, len(tasks), figsize=(3.4 * len(tasks), 6.2), squeeze=False)
    for column, task in enumerate(tasks):
        for row, (key, unit, scale) in enumerate((("iteration", "policy iterations", 1.0), ("steps", "million steps", 1e6))):
            axis = axes[row, column]
            for label, runs in drawn(task).items():
                end = min(run[key].iloc[-1] for run in runs)
                places = np.linspace(0.0, end, POINTS + 1)[1:]
                values = np.array([_smoothed(run, key, places) for run in runs])
                bounds = np.array([values.min(axis=0), values.max(axis=0)])
                band(axis, places / scale, values.mean(axis=0), bounds, COLORS[label], label, alpha=0.12)
            axis.axhline(TASKS[task].goal, color="black", linewidth=0.7, linestyle=":")
            axis.set(xlabel=unit, ylabel="" if column else "return of training episodes")
            axis.grid(alpha=0.3)
        axes[0, column].set_title(task)
    save_panels(figure, axes, STORE.path / name, 0.07, columns=5)


def _smoothed(run: pd.DataFrame, key: str, places: np.ndarray) -> np.ndarray:
    """Returns at some iterations or steps, each the mean of the iterations since the last place."""
    ended = run[run["episodes"] > 0]
    bins = np.searchsorted(places, ended[key], side="left").clip(max=len(places) - 1)
    totals = (ended["return"] * ended["episodes"]).groupby(bins).sum() / ended["episodes"].groupby(bins).sum()
    return np.interp(np.arange(len(places)), totals.index, totals)


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=METHODS,
    seeds=SEEDS,
    included=belongs,
    tables={"figure4": table},
    plots=(plot,),
)
