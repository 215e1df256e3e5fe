"""Returns that others have published for the comparison's tasks, most of them on earlier versions, and ours below.

``published.csv`` has them as their source states them, with its address.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import markdown
from benchmarks.common.statistics import decimals, interquartile_mean
from benchmarks.learning.mujoco import METHODS, TASKS
from benchmarks.learning.scored import runs

SOURCE = Path(__file__).with_name("published.csv")
NAMES = [*(env_id.removesuffix("-v5") for env_id in TASKS), "InvertedDoublePendulum", "Reacher"]


def published_table() -> str:
    """A row for each algorithm of each source; then the comparison's methods that have the five tasks, and their Ant-v4."""
    rows = []
    with SOURCE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            link = f"[{row['source']}]({row['address']})"
            rows.append([link, row["algorithm"], row["setting"], row["return_of"], *(row[name] for name in NAMES)])
    for method in METHODS:
        if all(runs(env_id, method) for env_id in TASKS):
            rows.append(_ours(method, "v5", NAMES))
        if runs("Ant-v4", method):
            rows.append(_ours(method, "v4", ["Ant"]))
    return markdown.table(["source", "algorithm", "version, steps, seeds", "return of", *NAMES], rows)


def _ours(method: str, version: str, names: Sequence[str]) -> list[str]:
    """A row of these tasks, as far as the method has runs."""
    finals = {name: [run.final for run in runs(f"{name}-{version}", method)] for name in names}
    setting = f"{version}, 1M steps, {min(len(scores) for scores in finals.values() if scores)} seeds"
    cells = (_cell(finals.get(name)) for name in NAMES)
    return ["here", METHODS[method].label, setting, "last policy, interquartile mean", *cells]


def _cell(scores: list[float] | None) -> str:
    return f"**{interquartile_mean(scores):.{decimals(scores)}f}**" if scores else ""
