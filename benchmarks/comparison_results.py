"""What the runs of ``benchmarks.comparison`` show: curves against steps and against time, and tables."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.comparison import FOLDER, STEPS, TASKS
from benchmarks.comparison_speed import FILE as SPEED
from benchmarks.comparison_speed import NAMES as METHODS
from benchmarks.legend import legend_of
from benchmarks.statistics import interquartile_mean, interval, interval_of_difference

COLORS = {"sb3_trpo": "tab:blue", "sb3_contrib": "tab:orange", "ppo": "tab:green"}
POINTS = 50
AXES = (("steps", "million env steps", 1e6), ("seconds", "minutes", 60.0))


@cache
def action_dimensions(env_id: str) -> int:
    return int(gym.make(env_id).action_space.shape[0])  # type: ignore[index]


@cache
def seconds_a_step(env_id: str, method: str) -> float:
    """Of the processor; of one measurement for all methods, not of the days on which their runs were made."""
    return 1e-6 * float(np.median(json.loads(SPEED.read_text())["microseconds"][env_id][method]))


class Run(NamedTuple):
    """One run: its evaluations by steps and seconds, the KL of its updates, of the joint action, and its bound, nats.

    sb3-contrib bounds the mean over action dimensions, so d times its ``target_kl`` for the joint action.
    """

    frame: pd.DataFrame
    kl: list[float]
    target_kl: float

    @classmethod
    def read(cls, path: Path) -> "Run":
        record = json.loads(path.with_suffix(".json").read_text())
        env_id, method = path.parent.name, path.stem.rpartition("_seed")[0]
        d = action_dimensions(env_id) if method == "sb3_contrib" else 1
        frame = pd.read_csv(path).assign(seconds=lambda rows: rows["steps"] * seconds_a_step(env_id, method))
        return cls(frame, record["kl"], d * float(record["settings"].get("target_kl") or 0.01))

    @property
    def final(self) -> float:
        return float(self.frame["mean"].iloc[-1])

    def curve(self, column: str, places: np.ndarray) -> np.ndarray:
        """Returns at some steps or seconds; before the first evaluation, that evaluation's."""
        return np.interp(places, self.frame[column], self.frame["mean"])


def runs(env_id: str, method: str, folder: Path = FOLDER) -> list[Run]:
    return [Run.read(path) for path in sorted((folder / env_id).glob(f"{method}_seed*.csv"))]


def methods(env_id: str) -> dict[str, list[Run]]:
    """The methods that have runs on a task."""
    return {method: found for method in METHODS if (found := runs(env_id, method))}


def fastest_finish(env_id: str) -> float:
    """Seconds after which the fastest method has all its steps."""
    return STEPS * min(seconds_a_step(env_id, method) for method in methods(env_id))


def area(run: Run, column: str, end: float) -> float:
    """Mean return up to some step or second."""
    return float(run.curve(column, np.linspace(0.0, end, 1001)).mean())


def _cell(scores: list[float]) -> str:
    low, high = interval(scores)
    return f"{interquartile_mean(scores):.0f}" + (f" ({low:.0f}–{high:.0f})" if np.isfinite(low) else "")


def table() -> str:
    """Interquartile means over seeds with 95 % intervals."""
    columns = ("task", "method", "seeds", "final return", "mean over steps", "mean over time", "CPU minutes", "KL beyond δ")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for env_id in TASKS:
        for method, found in methods(env_id).items():
            beyond = [np.mean(np.array(run.kl) > run.target_kl) for run in found if run.kl]
            cells = (
                f"{env_id} | {METHODS[method]} | {len(found)}",
                _cell([run.final for run in found]),
                _cell([area(run, "steps", STEPS) for run in found]),
                _cell([area(run, "seconds", fastest_finish(env_id)) for run in found]),
                f"{STEPS * seconds_a_step(env_id, method) / 60:.1f}",
                f"{np.mean(beyond):.0%} of updates" if beyond else "",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def difference_table() -> str:
    """Ours less the others', with 95 % intervals."""
    lines = ["| sb3_trpo less … | task | final return | mean return over the fastest's time |", "|---|---|---|---|"]
    for other in ("sb3_contrib", "ppo"):
        for env_id in TASKS:
            ours, theirs = runs(env_id, "sb3_trpo"), runs(env_id, other)
            if ours and theirs:
                end = fastest_finish(env_id)
                cells = (
                    difference([run.final for run in ours], [run.final for run in theirs]),
                    difference(*([area(run, "seconds", end) for run in group] for group in (ours, theirs))),
                )
                lines.append(f"| {METHODS[other]} | {env_id} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def difference(ours: list[float], theirs: list[float]) -> str:
    """Of interquartile means, ours less theirs, with its 95 % interval, as text: bold where this has no zero in it."""
    low, high = interval_of_difference(ours, theirs)
    text = f"{interquartile_mean(ours) - interquartile_mean(theirs):+.0f}"
    if not np.isfinite(low):
        return text
    text += f" ({low:+.0f} to {high:+.0f})"
    return f"**{text}**" if low > 0.0 or high < 0.0 else text


def plot(path: Path) -> None:
    """Above against steps, below against time; interquartile mean and its 95 % interval."""
    figure, axes = plt.subplots(2, len(TASKS), figsize=(3.1 * len(TASKS), 5.6), squeeze=False)
    for column, env_id in enumerate(TASKS):
        for row, (key, unit, scale) in enumerate(AXES):
            axis = axes[row, column]
            for method, found in methods(env_id).items():
                end = STEPS * (1.0 if key == "steps" else seconds_a_step(env_id, method))
                places = np.linspace(0.0, end, POINTS + 1)[1:]
                values = np.array([run.curve(key, places) for run in found])
                axis.plot(places / scale, interquartile_mean(values, axis=0), color=COLORS[method], label=METHODS[method])
                if len(found) > 1:
                    bounds = np.array([interval(list(point)) for point in values.T])
                    axis.fill_between(places / scale, *bounds.T, color=COLORS[method], alpha=0.15, linewidth=0)
            axis.set(xlabel=unit, ylabel="" if column else "return")
            axis.grid(alpha=0.3)
        axes[0, column].set_title(env_id)
    handles = legend_of(axes)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=len(handles), frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=110, metadata={"Software": ""})
    plt.close(figure)
