"""What the runs of ``benchmarks.figure4`` show: curves per policy iteration and per simulator step, and a table."""

import json
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.figure4.methods import METHODS, SWEPT, WITHOUT_NOISE
from benchmarks.figure4.runs import FOLDER, SEEDS, best_of, file_of, read, score
from benchmarks.figure4.tasks import LARGE_BATCHES, LONG_HORIZON, PAPER, RADIAL_BASIS, TASKS
from benchmarks.legend import legend_of

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


def drawn(task: str) -> dict[str, list[pd.DataFrame]]:
    """Runs by the name in the legend, of swept methods those with the best step size."""
    methods = {name: best_of(task, name) if name in SWEPT else name for name in COLORS}
    return {name: runs for name, method in methods.items() if method and (runs := list(read(task, method).values()))}


def table() -> str:
    """Score of every method on every task; of the swept methods, of every step size."""
    lines = ["| | " + " | ".join(TASKS) + " |", "|---" * (len(TASKS) + 1) + "|"]
    lines.append("| counts as done beyond | " + " | ".join(f"{task.goal:.0f}" for task in TASKS.values()) + " |")
    for method in METHODS:
        cells = [_cell([score(run) for run in read(name, method).values()], task.goal) for name, task in TASKS.items()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    cells = [_cell(_without_noise(name, "single path"), task.goal) for name, task in TASKS.items()]
    lines.append("| single path, its last policy without noise | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _without_noise(task: str, method: str) -> list[float]:
    """Mean returns of the last policy's mean action, of the runs that have them."""
    paths = [file_of(task, method, seed).with_suffix(".json") for seed in SEEDS]
    settings = [json.loads(path.read_text())["settings"] for path in paths if path.exists()]
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
                axis.plot(places / scale, values.mean(axis=0), color=COLORS[label], label=label)
                axis.fill_between(
                    places / scale, values.min(axis=0), values.max(axis=0), color=COLORS[label], alpha=0.12, linewidth=0
                )
            axis.axhline(TASKS[task].goal, color="black", linewidth=0.7, linestyle=":")
            axis.set(xlabel=unit, ylabel="" if column else "return of training episodes")
            axis.grid(alpha=0.3)
        axes[0, column].set_title(task)
    lines = legend_of(axes)
    figure.legend(lines.values(), lines.keys(), loc="lower center", ncols=5, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(FOLDER / name, dpi=110, metadata={"Software": ""})
    plt.close(figure)


def _smoothed(run: pd.DataFrame, key: str, places: np.ndarray) -> np.ndarray:
    """Returns at some iterations or steps, each the mean of the iterations since the last place."""
    ended = run[run["episodes"] > 0]
    bins = np.searchsorted(places, ended[key], side="left").clip(max=len(places) - 1)
    totals = (ended["return"] * ended["episodes"]).groupby(bins).sum() / ended["episodes"].groupby(bins).sum()
    return np.interp(np.arange(len(places)), totals.index, totals)
