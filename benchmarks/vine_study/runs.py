"""Which runs there are, and their files."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pandas as pd

from benchmarks.environment import RESULTS
from benchmarks.training import Plan, write_run
from benchmarks.vine_study.tasks import TASKS
from benchmarks.vine_study.variants import COMMON, VARIANTS
from sb3_trpo import collection, trpo

FOLDER = RESULTS / "vine_study"
SEEDS = (0, 1, 2, 3, 4)
EVALUATIONS = 10  # in a run


def file_of(task: str, variant: str, seed: int) -> Path:
    """Path of a run's files, without ending."""
    return FOLDER / task / f"{''.join(letter if letter.isalnum() else '_' for letter in variant)}_seed{seed}"


def read(task: str, variant: str) -> list[pd.DataFrame]:
    """The evaluations of every run there is."""
    paths = (file_of(task, variant, seed).with_suffix(".csv") for seed in SEEDS)
    return [pd.read_csv(path) for path in paths if path.exists()]


def make(task: str, variant: str, seed: int) -> None:
    """Make a run and write its files, unless they are there already or the variant is not for the task."""
    chosen, steps = VARIANTS[variant], TASKS[task].steps
    if chosen.only is not None and task not in chosen.only:
        return
    settings = {**COMMON, **TASKS[task].settings, **chosen.settings}
    wrap = partial(chosen.wrap, seed) if chosen.wrap else None
    plan = Plan("sb3_trpo", task, settings, steps, seed, every=steps // EVALUATIONS, wrap=wrap)
    with ExitStack() as stack:
        for name, function in chosen.functions.items():
            stack.enter_context(patch.object(collection if hasattr(collection, name) else trpo, name, function))
        write_run(plan, file_of(task, variant, seed))
