"""A study is declared: a grid of cells, what one cell returns, and the tables and pictures that are made of them all.

:func:`make` is the only loop over seeds, tasks and variants. It skips the cells whose results are there, writes each result as
soon as it is there, and so goes on where it was interrupted.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from benchmarks.common.stores import Cell, Rows, Runs

TEMPORARY = "--print"  # run one cell and print its result: what a parent asks of a fresh process


@dataclass(frozen=True)
class Study:
    """Everything there is to know about a study.

    :param run: measures one cell; what it returns is what the store keeps (None: nothing, as a rank but the first does)
    :param store: where results are; None if ``run`` keeps its own files and knows what is done
    :param tasks: names of the tasks
    :param variants: names of what is compared on each
    :param seeds: seeds or rounds
    :param included: whether a cell belongs to the study; asked when its turn comes
    :param alternated: finish a task before the next, so that its variants are timed in turn; else finish a seed before the
        next, so that a part of the runs is a fair comparison
    :param changeable: whether ``run`` takes a cell's ``changes``
    :param fresh_process: give each cell a Python process of its own
    :param tables: name in the documents -> Markdown, made of the results
    :param plots: write pictures, made of the results
    """

    run: Callable[[Cell], Any]
    store: Runs | Rows | None
    tasks: Collection[str]
    variants: Collection[str] = ("",)
    seeds: Sequence[int] = (0,)
    included: Callable[[Cell], bool] = lambda cell: True
    alternated: bool = False
    changeable: bool = False
    fresh_process: bool = False
    tables: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    plots: Sequence[Callable[[], None]] = ()


def cells(
    study: Study, tasks: Collection[str] = (), variants: Collection[str] = (), seeds: Sequence[int] = ()
) -> Iterator[Cell]:
    """The study's cells, or those that have one of the tasks, variants and seeds asked for, in the order of running."""
    tasks, variants, seeds = tasks or study.tasks, variants or study.variants, seeds or study.seeds
    if study.alternated:
        grid = (Cell(task, variant, seed) for task, seed, variant in product(tasks, seeds, variants))
    else:
        grid = (Cell(task, variant, seed) for seed, task, variant in product(seeds, tasks, variants))
    return filter(study.included, grid)


def make(name: str, study: Study, chosen: Iterable[Cell], again: bool = False) -> None:
    """Measure cells whose results are not there yet.

    :param name: of the study on the command line
    :param chosen: the cells
    :param again: measure those whose results are there, too, and put the new ones in their place
    """
    measured = False
    for cell in chosen:
        if study.store is not None and not again and study.store.has(cell):
            continue
        print(" | ".join(filter(None, (name, cell.task, cell.name, str(cell.seed)))), flush=True)
        result = _in_fresh_process(name, cell) if study.fresh_process else study.run(cell)
        if study.store is not None and result is not None:
            study.store.write(cell, result)
        measured = True
    if not measured:
        print("Nothing to measure: the results are there, or the cells you named are none of this study's.")


def _in_fresh_process(name: str, cell: Cell) -> Any:
    command = [sys.executable, "-m", "benchmarks", name, "--task", cell.task, "--seed", str(cell.seed), TEMPORARY]
    command += ["--variant", cell.variant] if cell.variant else []
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])
