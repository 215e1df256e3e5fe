"""Rebuild every picture and table of README.md and benchmarks/README.md from the files in ``benchmarks/results``.

python -m benchmarks.report
"""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks import ablations, atari_table, candidates, comparison, comparison_results, same_settings, tuning
from benchmarks.environment import RESULTS
from benchmarks.figure4 import results as figure4
from benchmarks.vine_study import results as vine_study

DOCUMENTS = (Path(__file__).parent.parent / "README.md", Path(__file__).parent / "README.md")
CURVES = RESULTS / "learning_curves"
LABELS = {
    "sb3_trpo": "sb3_trpo",
    "sb3_trpo_two_ranks": "sb3_trpo, two ranks with one environment each",
    "sb3_trpo_vine": "sb3_trpo, vine with its defaults",
    "sb3_contrib": "sb3-contrib TRPO, RL Zoo's settings",
    "sb3_trpo_same_numbers": "sb3_trpo, target_kl and cg_damping not converted",
}
COLORS = {
    "sb3_trpo": "tab:blue",
    "sb3_trpo_two_ranks": "tab:purple",
    "sb3_trpo_vine": "tab:red",
    "sb3_contrib": "tab:orange",
    "sb3_trpo_same_numbers": "tab:green",
}


def curves(env_id: str) -> dict[str, list[pd.DataFrame]]:
    """Evaluations of every committed run on a task, by label."""
    runs: dict[str, list[pd.DataFrame]] = {}
    for path in sorted((CURVES / env_id).glob("*_seed*.csv")):
        runs.setdefault(path.stem.rsplit("_seed", 1)[0], []).append(pd.read_csv(path))
    return runs


def plot_learning_curves(env_id: str) -> None:
    """Mean and range over seeds, against env steps."""
    figure, axis = plt.subplots(figsize=(8, 4.6))
    for label, frames in curves(env_id).items():
        # Runs are evaluated at the ends of rollouts, which with a vine come at steps of their own
        steps = np.linspace(0, max(frame["steps"].iloc[-1] for frame in frames), 31)[1:]
        returns = [np.interp(steps, frame["steps"], frame["mean"]) for frame in frames]
        color = COLORS.get(label)
        axis.plot(
            steps / 1000, np.mean(returns, axis=0), color=color, label=f"{LABELS.get(label, label)} ({len(frames)} seeds)"
        )
        axis.fill_between(steps / 1000, np.min(returns, axis=0), np.max(returns, axis=0), color=color, alpha=0.15, linewidth=0)
    axis.set(xlabel="thousand env steps", ylabel="mean return of 5 deterministic episodes", title=env_id)
    axis.grid(alpha=0.3)
    figure.legend(loc="lower center", ncols=1, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.05 * len(curves(env_id)), 1, 1))
    figure.savefig(CURVES / f"{env_id}.png", dpi=110, metadata={"Software": ""})
    plt.close(figure)


def learning_table() -> str:
    """Final and mean return of every task and method, each over its seeds."""
    rows = [
        "| task | method | seeds | env steps | best evaluations | final ones | mean over the run |",
        "|---|---|---|---|---|---|---|",
    ]
    for folder in sorted(path for path in CURVES.iterdir() if path.is_dir()):
        for label, frames in curves(folder.name).items():
            finals = ", ".join(f"{frame['mean'].iloc[-1]:.0f}" for frame in frames)
            best = ", ".join(f"{frame['mean'].max():.0f}" for frame in frames)
            area = np.mean([frame["mean"].mean() for frame in frames])
            steps = int(frames[0]["steps"].iloc[-1])
            rows.append(
                f"| {folder.name} | {LABELS.get(label, label)} | {len(frames)} | {steps:,} | {best} | {finals} | {area:.0f} |"
            )
    return "\n".join(rows)


def tables() -> dict[str, str]:
    """Every table by its name in the documents; most were written as rows of text by the benchmark that made the figures."""
    written = {path.stem: json.loads(path.read_text())["table"] for path in sorted(RESULTS.glob("*/*.json"))}
    made = {
        "comparison": comparison_results.table(),
        "differences": comparison_results.difference_table(),
        "same_settings": same_settings.table(),
        "learning": learning_table(),
        "ablations": ablations.table(),
        "candidates": candidates.table(),
        "tuning": tuning.table(),
        "figure4": figure4.table(),
        "vine_study": vine_study.table(),
    }
    return {**written, **made, **atari_table.tables()}


def fill(text: str, name: str, table: str) -> str:
    """The text with the table between the marks of its name, if it has these."""
    head, begin, rest = text.partition(f"<!-- {name} -->\n")
    tail = rest.partition(f"<!-- end {name} -->")[2]
    return f"{head}{begin}{table}\n<!-- end {name} -->{tail}" if begin else text


def main() -> None:
    for folder in sorted(path for path in CURVES.iterdir() if path.is_dir()):
        if len(curves(folder.name)) > 1:
            plot_learning_curves(folder.name)
    if atari_table.runs():
        atari_table.plot()
    if comparison.FOLDER.exists():
        comparison_results.plot(comparison.FOLDER / "comparison.png")
    if figure4.FOLDER.exists():
        figure4.plot()
    if vine_study.FOLDER.exists():
        vine_study.plot()
    found = tables()
    for document in DOCUMENTS:
        text = document.read_text()
        for name, table in found.items():
            text = fill(text, name, table)
        document.write_text(text)


if __name__ == "__main__":
    main()
