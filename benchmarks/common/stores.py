"""Where results are kept: two files for each run, or one with a row for each cell. Numbers only; Markdown is made later."""

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.common.environment import describe, results


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    :param task: of the study's tasks
    :param variant: of the study's variants
    :param seed: of everything; where a study measures the same again and again, the number of the round
    :param label: name of the variant in the results, where ``changes`` make another one of it
    :param changes: settings that the command line changes
    """

    task: str
    variant: str = ""
    seed: int = 0
    label: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The variant's name in the results."""
        return self.label or self.variant


class Run(NamedTuple):
    """What a training run leaves.

    :param rows: its evaluations or iterations, for the CSV
    :param notes: settings and single numbers, for the JSON
    """

    rows: list[dict[str, Any]]
    notes: dict[str, Any]


def write_json(path: Path, record: dict[str, Any]) -> None:
    """A line for each field, and for each row of ``rows``. An interrupted writer leaves the old file."""
    lines = []
    for name, value in record.items():
        text = json.dumps(value, ensure_ascii=False)
        if name == "rows":
            text = "[\n" + ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in value) + "\n  ]"
        lines.append(f"  {json.dumps(name)}: {text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    os.replace(part, path)


@dataclass(frozen=True)
class Runs:
    """``TASK/VARIANT_seedN.csv`` and ``.json`` for each run.

    :param folder: in the results
    :param kept: characters beside letters and digits that a variant's name keeps in a file's name; others become ``_``
    :param kept_of_task: the same of a task's name
    """

    folder: str
    kept: str = ".-"
    kept_of_task: str = ".-"

    @property
    def path(self) -> Path:
        return results(*self.folder.split("/"))

    def folder_of(self, task: str) -> Path:
        return self.path / _spelled(task, self.kept_of_task)

    def file(self, cell: Cell, kind: str) -> Path:
        """Path of a run's ``csv`` or ``json``."""
        return self.folder_of(cell.task) / f"{_spelled(cell.name, self.kept)}_seed{cell.seed}.{kind}"

    def has(self, cell: Cell) -> bool:
        """Whether the run is over: its JSON is written last."""
        return self.file(cell, "json").exists()

    def write(self, cell: Cell, run: Run) -> None:
        self.write_rows(cell, run.rows)
        write_json(self.file(cell, "json"), {**describe(), **run.notes})

    def write_rows(self, cell: Cell, rows: list[dict[str, Any]]) -> None:
        """The CSV alone, of a run that goes on."""
        path = self.file(cell, "csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def paths(self, task: str, variant: str | None = None) -> list[Path]:
        """CSV files of all finished runs on a task, or of those of one variant, in the order of their names."""
        stem = "*" if variant is None else _spelled(variant, self.kept)
        found = self.folder_of(task).glob(f"{stem}_seed*.csv")
        return sorted(path for path in found if _notes(path).exists())

    def frames(self, task: str, variant: str) -> list[pd.DataFrame]:
        """What their CSV files hold."""
        return [pd.read_csv(path) for path in self.paths(task, variant)]


def notes_of(path: Path) -> dict[str, Any]:
    """The JSON beside a run's CSV."""
    return json.loads(_notes(path).read_text())


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.stem}.json")


def _spelled(name: str, kept: str) -> str:
    return "".join(letter if letter.isalnum() or letter in kept else "_" for letter in name)


@dataclass(frozen=True)
class Rows:
    """One JSON: what it must be read with, and a row for each cell: task, variant if there are any, seed, and numbers.

    A row that was measured by another call, or with other versions, than the first one has these under ``measured``.

    :param name: of the file, with its folder in the results
    """

    name: str

    @property
    def path(self) -> Path:
        return results(*f"{self.name}.json".split("/"))

    def rows(self) -> list[dict[str, Any]]:
        return self._record().get("rows", [])

    def has(self, cell: Cell) -> bool:
        return any(_is_of(row, cell) for row in self.rows())

    def write(self, cell: Cell, numbers: dict[str, Any]) -> None:
        """Add a row, or put it in the place of the one that is there."""
        record = self._record()
        rows = [{"measured": record, **row} for row in record.pop("rows", [])]
        place = next((index for index, row in enumerate(rows) if _is_of(row, cell)), len(rows))
        variant = {"variant": cell.name} if cell.name else {}
        rows[place : place + 1] = [{"task": cell.task, **variant, "seed": cell.seed, **numbers, "measured": describe()}]
        head = rows[0]["measured"]
        kept = ({name: value for name, value in row.items() if name != "measured" or value != head} for row in rows)
        write_json(self.path, {**head, "rows": list(kept)})

    def _record(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}


def _is_of(row: dict[str, Any], cell: Cell) -> bool:
    return (row["task"], row.get("variant", ""), row["seed"]) == (cell.task, cell.name, cell.seed)
