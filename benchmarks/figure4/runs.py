"""Which runs there are, and their files: a CSV of iterations and a JSON of settings each."""

import csv
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from benchmarks.environment import RESULTS, describe
from benchmarks.figure4.methods import METHODS, SWEPT, Iterations
from benchmarks.figure4.tasks import TASKS

FOLDER = RESULTS / "figure4"
SEEDS = (0, 1, 2)
LAST = 0.1  # share of a run's steps over which its score is taken


def file_of(task: str, method: str, seed: int) -> Path:
    folder, stem = (
        "".join(letter if letter.isalnum() or letter == "." else "_" for letter in name) for name in (task, method)
    )
    return FOLDER / folder / f"{stem}_seed{seed}.csv"


def read(task: str, method: str) -> dict[int, pd.DataFrame]:
    """Every run there is, by seed."""
    paths = {seed: file_of(task, method, seed) for seed in SEEDS}
    return {seed: pd.read_csv(path) for seed, path in paths.items() if path.exists()}


def score(run: pd.DataFrame) -> float:
    """Mean undiscounted return of the training episodes in the last tenth of a run's steps."""
    last = run[(run["steps"] > (1.0 - LAST) * run["steps"].iloc[-1]) & (run["episodes"] > 0)]
    return float((last["return"] * last["episodes"]).sum() / last["episodes"].sum())


def best_of(task: str, swept: str) -> str | None:
    """The step size with the highest score of seed 0; None while one of them is missing."""
    runs = {method: read(task, method).get(SEEDS[0]) for method in SWEPT[swept]}
    scores = {method: score(run) for method, run in runs.items() if run is not None}
    return max(scores, key=scores.__getitem__) if len(scores) == len(runs) else None


def methods_of(task: str, seed: int) -> Iterator[str]:
    """Methods to run: all step sizes with the first seed, then the best one only."""
    for method in TASKS[task].methods or METHODS:
        swept = method.rpartition(",")[0]
        of_the_paper = method != "max KL" or not TASKS[task].hidden
        if of_the_paper and (swept not in SWEPT or seed == SEEDS[0] or method == best_of(task, swept)):
            yield method


def write_run(task: str, method: str, seed: int) -> None:
    """Make a run and write its files, unless they are there already."""
    path = file_of(task, method, seed)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    iterations = Iterations()
    settings = METHODS[method](TASKS[task], seed, iterations)
    described = {name: str(value) for name, value in vars(TASKS[task]).items()}
    record = {**describe(), "cma": version("cma"), "task": described, "method": method, "settings": settings, "seed": seed}
    path.with_suffix(".json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(iterations.rows[0]))
        writer.writeheader()
        writer.writerows(iterations.rows)
    print(task, "|", method, "|", seed, "|", iterations.rows[-1], flush=True)
