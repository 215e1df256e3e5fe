"""The example notebooks run from their first cell to their last, and what they claim holds in what they print."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import sb3_trpo

NOTEBOOKS = sorted(Path(__file__).parents[2].joinpath("examples").glob("*.ipynb"))


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a notebook prints; it must also draw."""
    # The kernel is another process: it must import the package that is being tested, and draw without a display
    paths = [str(Path(sb3_trpo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(next(path for path in NOTEBOOKS if path.stem == name), as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def test_quickstart(tmp_path, monkeypatch):
    printed = run("quickstart", tmp_path, monkeypatch)
    largest, bound = re.search(r"largest KL divergence of \d+ updates: (\S+); the bound is (\S+)", printed).groups()
    assert 0 < float(largest) <= float(bound)
    assert printed.count("ok") == 1
    before, after = re.search(r"recent episodes: (\S+) at first, (\S+) at the end", printed).groups()
    assert float(after) > 1.5 * float(before)


def test_reading_the_log(tmp_path, monkeypatch):
    printed = run("reading_the_log", tmp_path, monkeypatch)
    (taken, of), (none, _) = re.findall(r"steps taken: (\d+) of (\d+)", printed)
    assert int(taken) > 0.8 * int(of) > 0 and int(none) == 0
    assert float(re.search(r"largest KL divergence (\S+)", printed)[1]) <= 0.01
    assert "zero gradient" in printed


def test_vine(tmp_path, monkeypatch):
    printed = run("vine", tmp_path, monkeypatch)
    assert "exact over 200 steps" in printed
    shared, own = re.search(r"actions: (\S+) with shared noise, (\S+) without", printed).groups()
    assert float(shared) < float(own)
    trunk, branches = map(int, re.search(r"(\d+) of the trunk, (\d+) of branches", printed).groups())
    assert 0.5 * trunk < branches < 1.5 * trunk


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebook_is_committed_without_outputs(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert "pip install -e" in cells[0].source  # how to install from a clone
