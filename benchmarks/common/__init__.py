"""What all studies share: how one is declared and run, where results are kept, training, statistics, tables and pictures."""

from benchmarks.common import markdown
from benchmarks.common.stores import Cell, Rows, Run, Runs, notes_of
from benchmarks.common.study import Study

__all__ = ["Cell", "Rows", "Run", "Runs", "Study", "markdown", "notes_of"]
