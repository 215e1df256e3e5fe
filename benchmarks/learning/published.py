"""Returns that others have published for the comparison's tasks, most of them on earlier versions, and ours below.

``published.csv`` has them as their source states them, with its address.
"""

import csv
from pathlib import Path

from benchmarks.common import markdown
from benchmarks.common.statistics import interquartile_mean
from benchmarks.learning.mujoco import METHODS, TASKS
from benchmarks.learning.scored import runs

SOURCE = Path(__file__).with_name("published.csv")
NAMES = [env_id.removesuffix("-v5") for env_id in TASKS]


def published_table() -> str:
    """A row for each algorithm of each source, then the comparison's methods that have all tasks."""
    rows = []
    with SOURCE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            link = f"[{row['source']}]({row['address']})"
            rows.append([link, row["algorithm"], row["setting"], row["return_of"], *(row[name] for name in NAMES)])
    for name, method in METHODS.items():
        found = [runs(env_id, name) for env_id in TASKS]
        if not all(found):
            continue
        scores = (f"**{interquartile_mean([run.final for run in group]):.0f}**" for group in found)
        setting = f"v5, 1M steps, {min(map(len, found))} seeds"
        rows.append(["here", method.label, setting, "last policy, interquartile mean", *scores])
    return markdown.table(["source", "algorithm", "version, steps, seeds", "return of", *NAMES], rows)
