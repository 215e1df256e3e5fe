"""Every code block of README and site runs, and every command has options, extras and studies that exist."""

import re
from configparser import ConfigParser
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch as th

from benchmarks.catalogue import STUDIES
from sb3_trpo import TRPO
from sb3_trpo.__main__ import SCRIPTS
from tests.documents import DOCUMENTS, ROOT, blocks, commands, generated, name_of

BUDGET = 2_048  # env steps that a block's `learn` takes at most: a block is tried, not what it learns
WITH_PYTHON = [document for document in DOCUMENTS if any(block.is_run for block in blocks(document, "python"))]


@pytest.mark.parametrize("document", WITH_PYTHON, ids=name_of)
def test_python(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document's blocks, one after the other, as a reader would type them into one session."""
    learn = TRPO.learn

    def short(model: TRPO, total_timesteps: int, *arguments: Any, **named: Any) -> TRPO:
        return learn(model, min(total_timesteps, BUDGET), *arguments, **named)

    monkeypatch.setattr(TRPO, "learn", short)
    monkeypatch.chdir(tmp_path)
    threads = th.get_num_threads()
    names: dict[str, Any] = {"__name__": "a document"}
    try:
        for block in blocks(document, "python"):
            if block.is_run:
                code = "\n" * (block.line - 1) + block.code  # so that an error names the document's own line
                exec(compile(code, str(document), "exec"), names)
    finally:
        th.set_num_threads(threads)


def test_python_that_is_not_run_is_python() -> None:
    for document in DOCUMENTS:
        for block in blocks(document, "python"):
            compile(block.code, str(document), "exec")


@cache
def options(script: str) -> set[str]:
    """Of a script of ``python -m sb3_trpo``."""
    return {name for action in generated.options_of(script) for name in action.option_strings}


def extras() -> set[str]:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options.extras_require"])


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if commands(document)], ids=name_of)
def test_commands(document: Path) -> None:
    """Scripts, options, extras and studies are there."""
    for command in commands(document):
        for name in re.findall(r"\[([a-z,]+)\]", command) if "pip install" in command else ():
            assert set(name.split(",")) <= extras(), command
        study = re.search(r"python -m benchmarks ([a-z]\w*)", command)
        assert study is None or study[1] in STUDIES, command
        script = re.search(r"-m sb3_trpo (\w+)(.*)", command)
        if script is not None and script[1] != "SCRIPT":
            assert script[1] in SCRIPTS, command
            given = {word for word in script[2].split("#")[0].split() if re.match(r"--?[a-zA-Z]", word)}
            assert given <= options(script[1]), f"{command}: there is no {given - options(script[1])}"
