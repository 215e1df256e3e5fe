"""How studies are declared and run, where their results are, and that the documents are made of them."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import benchmarks
from benchmarks.__main__ import main
from benchmarks.catalogue import STUDIES, load
from benchmarks.common import Cell, Rows, Run, Runs, Study, environment, markdown, stores
from benchmarks.common.study import cells, make
from benchmarks.report import DOCUMENTS, tables

FOLDER = Path(benchmarks.__file__).parent
GRID: dict[str, Any] = {"tasks": ("a", "b"), "variants": ("x", "y"), "seeds": (0, 1)}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of the test's own."""
    monkeypatch.setattr(environment, "RESULTS", tmp_path)
    return tmp_path


def key(cell: Cell) -> tuple[str, str, int]:
    return cell.task, cell.variant, cell.seed


# Running


def test_a_part_of_the_runs_is_a_fair_comparison_or_measured_in_turn():
    study = Study(run=key, store=None, **GRID)
    assert [key(cell) for cell in cells(study)][:4] == [("a", "x", 0), ("a", "y", 0), ("b", "x", 0), ("b", "y", 0)]
    study = Study(run=key, store=None, alternated=True, **GRID)
    assert [key(cell) for cell in cells(study)][:4] == [("a", "x", 0), ("a", "y", 0), ("a", "x", 1), ("a", "y", 1)]


def test_cells_can_be_named():
    study = Study(run=key, store=None, included=lambda cell: cell.task != "b", **GRID)
    assert [key(cell) for cell in cells(study, variants=["y"], seeds=[1])] == [("a", "y", 1)]


def rows_of(cell: Cell) -> dict[str, Any]:
    return {"number": cell.seed + 0.5}


def run_of(cell: Cell) -> Run:
    return Run([{"steps": 1, "mean": cell.seed + 0.5}], {"settings": {"a": 1}})


@pytest.mark.parametrize("store, run", [(Rows("some/rows"), rows_of), (Runs("some/runs"), run_of)])
def test_an_interrupted_study_goes_on(store: Any, run: Callable[[Cell], Any], results: Path):
    """Every result is written as soon as it is there, none is measured twice, and all that remain are."""
    measured: list[tuple[str, str, int]] = []

    def measure(cell: Cell) -> Any:
        if len(measured) == 3:
            raise InterruptedError
        measured.append(key(cell))
        return run(cell)

    study = Study(run=measure, store=store, **GRID)
    with pytest.raises(InterruptedError):
        make("study", study, cells(study))
    first, measured = measured, []
    with pytest.raises(InterruptedError):
        make("study", study, cells(study))
    second, measured = measured, []
    make("study", study, cells(study))
    assert [*first, *second, *measured] == [key(cell) for cell in cells(study)]
    measured = []
    make("study", study, cells(study, tasks=["a"], seeds=[1]), again=True)
    assert measured == [("a", "x", 1), ("a", "y", 1)]


def test_a_rank_that_returns_nothing_writes_nothing(results: Path):
    study = Study(run=lambda cell: None, store=Rows("rows"), **GRID)
    make("study", study, cells(study))
    assert not list(results.iterdir())


# Results


def test_a_row_says_what_it_was_measured_with(results: Path, monkeypatch: pytest.MonkeyPatch):
    """The file says it of the first row, others if it is not the same; a row measured again takes the old one's place."""
    store = Rows("rows")
    for task, revision in (("a", "old"), ("b", "old"), ("c", "new"), ("a", "new"), ("b", "new")):
        monkeypatch.setattr(stores, "describe", lambda revision=revision: {"revision": revision})
        store.write(Cell(task), {"number": 1.0})
        head = json.loads(store.path.read_text())["revision"]
        found = {row["task"]: row.get("measured", {"revision": head})["revision"] for row in store.rows()}
        assert found[task] == revision and list(found) == sorted(found)
        if (task, revision) == ("c", "new"):
            assert found == {"a": "old", "b": "old", "c": "new"}
            assert head == "old" and ["measured" in row for row in store.rows()] == [False, False, True]
        if (task, revision) == ("a", "new"):
            assert found == {"a": "new", "b": "old", "c": "new"}
    assert head == "new" and not any("measured" in row for row in store.rows())


def test_runs_are_found_by_the_names_they_were_given(results: Path):
    """A file's name keeps what the store says; a run without its JSON is not over."""
    store = Runs("runs", kept="")
    cell = Cell("Task-v5", "gamma=0.9", 3)
    store.write(cell, Run([{"steps": 1, "mean": 2.5}], {"settings": {}}))
    assert (results / "runs" / "Task-v5" / "gamma_0_9_seed3.csv").exists() and store.has(cell)
    unfinished = Cell("Task-v5", "gamma=0.9", 4)
    store.write_rows(unfinished, [{"steps": 1, "mean": 3.5}])
    assert not store.has(unfinished)
    (frame,) = store.frames("Task-v5", "gamma=0.9")
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"steps": [1], "mean": [2.5]}))
    assert store.frames("Task-v5", "gamma") == []


def test_results_hold_no_markdown():
    texts = {path: path.read_text() for kind in ("json", "csv") for path in environment.RESULTS.rglob(f"*.{kind}")}
    assert texts
    assert not [path for path, text in texts.items() if "|---" in text or "| " in text]


# Documents


def test_a_table_takes_the_place_between_its_marks():
    table = markdown.table(["", "b"], [["c", ""], ["d", "1"]])
    assert table == "| | b |\n|---|---|\n| c |  |\n| d | 1 |"
    text = "before\n<!-- t -->\nold\n<!-- end t -->\nafter <!-- other -->\n"
    assert markdown.fill(text, "t", table) == text.replace("old", table)
    assert markdown.fill(text, "nothing", table) == text


def test_documents_are_made_of_the_results():
    """Every table of a study has one place, every place a table, and the results say what is written there."""
    texts = [document.read_text() for document in DOCUMENTS]
    found = tables()
    marks = [line[5:-4] for text in texts for line in text.splitlines() if line.startswith("<!-- ") and "end " not in line]
    assert sorted(marks) == sorted(found)
    for name, table in found.items():
        assert sum(f"<!-- {name} -->\n{table}\n<!-- end {name} -->" in text for text in texts) == 1, name


# The command line


def test_one_cell_from_the_command_line(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """With other settings it is another variant, and it is not measured again."""
    chosen = ["--task", "CartPole-v1", "--variant", "sb3_trpo", "--seed", "7", "--results", str(results / "here")]
    monkeypatch.setattr(
        sys, "argv", ["", "learning_curves", *chosen, "--label", "short", "--set", "n_timesteps=512", "gamma=0.9"]
    )
    main()
    path = results / "here" / "learning_curves" / "CartPole-v1" / "short_seed7.csv"
    assert pd.read_csv(path)["steps"].iloc[-1] == 1024  # a rollout of two environments
    assert stores.notes_of(path)["settings"]["gamma"] == 0.9
    written = path.stat().st_mtime_ns
    capsys.readouterr()
    main()
    assert path.stat().st_mtime_ns == written and capsys.readouterr().out.startswith("Nothing to measure")


@pytest.mark.parametrize("arguments", [["nothing"], ["comparison", "--task", "None-v0"], ["comparison", "--set", "gamma=0.9"]])
def test_wrong_commands_are_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["", *arguments])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code


def test_a_fresh_process_measures_a_cell():
    """It prints the result last and writes nothing."""
    command = [sys.executable, "-m", "benchmarks", "time_budget", "--task", "CartPole-v1", "--print"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FOLDER.parent).stdout
    assert set(json.loads(output.splitlines()[-1])["microseconds"]) >= {"environment", "policy step", "the rest"}


# The code

# A family imports from those before it: the comparison's settings and tasks are others' too, and atari trains some variants
FAMILIES = "common speed learning vine vine_study figure4 restarts variants atari catalogue report __main__".split()
MODULES = sorted(path for path in FOLDER.rglob("*.py") if path.parent != FOLDER or path.stem != "__init__")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """Names of the benchmarks' modules that a file imports."""
    names = {name_of(other) for other in MODULES}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names} & names
            found |= parts or {node.module} & names
    return found - {name_of(path)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_family_knows_those_before_it_and_files_are_short(path: Path):
    place = FAMILIES.index(name_of(path).split(".")[1])
    assert all(FAMILIES.index(other.split(".")[1]) <= place for other in imported(path))
    assert len(path.read_text().splitlines()) <= 300


def test_imports_have_no_circle():
    graph = {name_of(path): imported(path) for path in MODULES}
    assert "benchmarks.common.stores" in graph["benchmarks.common.training"]
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_every_declaration_is_in_the_catalogue():
    declared = {path for path in MODULES if "\nSTUDY = " in path.read_text()}
    assert declared == {FOLDER.parent / f"{module.replace('.', '/')}.py" for module in STUDIES.values()}
    assert all(load(name)[1] for name in STUDIES)
