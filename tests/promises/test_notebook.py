"""The example notebook runs from its first cell to its last, and what it claims about the bound holds in what it prints."""

import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import sb3_trpo

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def test_quickstart_runs(tmp_path, monkeypatch):
    # The kernel is another process: it must import the package that is being tested, and draw without a display
    paths = [str(Path(sb3_trpo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    largest, bound = re.search(r"largest KL divergence of \d+ updates: (\S+); the bound is (\S+)", printed).groups()
    assert 0 < float(largest) <= float(bound)
    assert printed.count("ok") == 1
    before, after = re.search(r"recent episodes: (\S+) at first, (\S+) at the end", printed).groups()
    assert float(after) > 1.5 * float(before)
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_notebook_is_committed_without_outputs():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
