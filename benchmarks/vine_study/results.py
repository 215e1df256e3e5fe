"""What the runs of ``benchmarks.vine_study`` show: every variant's score beside single path, and the curves."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.legend import legend_of
from benchmarks.statistics import interquartile_mean, interval_of_difference
from benchmarks.vine_study.runs import FOLDER, read
from benchmarks.vine_study.tasks import TASKS
from benchmarks.vine_study.variants import VARIANTS

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
    lines = ["| | seeds | " + " | ".join(f"{name}, {task.kind}" for name, task in TASKS.items()) + " |"]
    lines.append("|---" * (len(TASKS) + 2) + "|")
    scores = {variant: [_scores(task, variant) for task in TASKS] for variant in VARIANTS}
    paths = zip(*(scores[name] for name in SINGLE_PATHS), strict=True)
    bases: list[list[float]] = [max(filter(None, found), key=interquartile_mean, default=[]) for found in paths]
    for variant, found in scores.items():
        seeds = sorted({len(own) for own in found if own})
        others = [[] for _ in TASKS] if variant in SINGLE_PATHS else bases
        cells = ("–".join(map(str, seeds)), *map(_cell, TASKS, found, others))
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _scores(task: str, variant: str) -> list[float]:
    return [area(run, TASKS[task].steps) for run in read(task, variant)]


def _cell(task: str, scores: list[float], base: list[float]) -> str:
    if not scores:
        return ""
    digits = 1 if TASKS[task].kind == "sparse rewards" else 0
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
            if runs := read(name, variant):
                curve = interquartile_mean(np.array([_at(run, steps) for run in runs]), axis=0)
                axis.plot(steps / 1000, curve, color=color, label=variant)
        axis.set(title=f"{name}\n{task.kind}", xlabel="thousand simulator steps")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("return")
    handles = legend_of(axes)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(FOLDER / "vine_study.png", dpi=110, metadata={"Software": ""})
    plt.close(figure)
