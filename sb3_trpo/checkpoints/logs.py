"""The logger: values recorded and not yet written, and files that go on where they were."""

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import (
    CSVOutputFormat,
    HumanOutputFormat,
    JSONOutputFormat,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
)

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # a log that goes to TensorBoard cannot have been written without it
    SummaryWriter = None  # type: ignore[assignment, misc]

_PENDING = ("name_to_value", "name_to_count", "name_to_excluded")


def pending_of(logger: Logger) -> dict[str, Any]:
    """Values recorded since the log was last written."""
    return {name: dict(getattr(logger, name)) for name in _PENDING}


def load_pending(logger: Logger, values: dict[str, Any]) -> None:
    """Inverse of :func:`pending_of`."""
    for name in _PENDING:
        held: defaultdict = getattr(logger, name)
        held.clear()
        held.update(values[name])


def outputs_of(logger: Logger) -> dict[str, Any]:
    """Where a log goes, and how far each file has come: plain values."""
    return {"folder": logger.dir, "outputs": [output for output in map(_output, logger.output_formats) if output]}


def _output(output: KVWriter) -> dict[str, Any] | None:
    if isinstance(output, TensorBoardOutputFormat):
        return {"kind": "tensorboard", "path": output.writer.log_dir}
    if isinstance(output, CSVOutputFormat):
        with open(output.file.name) as file:
            return {"kind": "csv", "path": output.file.name, "keys": list(output.keys), "lines": len(file.readlines())}
    if isinstance(output, JSONOutputFormat):
        return {"kind": "json", "path": output.file.name, "size": output.file.tell()}
    if isinstance(output, HumanOutputFormat):
        return {"kind": "log", "path": output.file.name, "size": output.file.tell()} if output.own_file else {"kind": "stdout"}
    return None


class _Continued(TensorBoardOutputFormat):
    """TensorBoard's, which is told to forget what it has of later steps."""

    def __init__(self, folder: str, steps: int):
        self.writer, self._is_closed = SummaryWriter(log_dir=folder, purge_step=steps + 1), False


def reopened(saved: dict[str, Any], steps: int) -> Logger:
    """A log that goes on: what was written after the checkpoint is taken out of its files.

    :param saved: what :func:`outputs_of` returned
    :param steps: of the run at the checkpoint
    """
    return Logger(saved["folder"], [_reopened(output, steps) for output in saved["outputs"]])


def moved(saved: dict[str, Any], before: Path, now: Path) -> dict[str, Any]:
    """Where a log goes whose checkpoints were copied or moved: with them, if both are inside of one folder.

    :param saved: what :func:`outputs_of` returned
    :param before: where the checkpoints were
    :param now: where they are
    """

    def place(path: str) -> str:
        absolute = Path(path).resolve()
        inside = before != now and absolute.is_relative_to(before.parent)
        return str(now.parent / absolute.relative_to(before.parent)) if inside else path

    outputs = [{**output, **({"path": place(output["path"])} if "path" in output else {})} for output in saved["outputs"]]
    return {"folder": saved["folder"] and place(saved["folder"]), "outputs": outputs}


def _reopened(saved: dict[str, Any], steps: int) -> KVWriter:
    kind = saved["kind"]
    if kind == "stdout":
        return HumanOutputFormat(sys.stdout)
    if kind == "tensorboard":
        return _Continued(saved["path"], steps)
    output: Any = _FILES[kind](os.devnull)
    output.file.close()
    path = Path(saved["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    output.file = path.open("r+")
    if kind == "csv":
        lines = output.file.readlines()[: saved["lines"]]
        output.keys = list(saved["keys"]) if lines else []  # a table that is gone begins with a head
        output.file.seek(0)
        output.file.writelines(_without_columns(lines, output.keys))
    else:
        output.file.seek(min(saved["size"], path.stat().st_size))
    output.file.truncate()
    return output


_FILES: dict[str, Any] = {"csv": CSVOutputFormat, "json": JSONOutputFormat, "log": HumanOutputFormat}


def _without_columns(lines: list[str], keys: list[str]) -> list[str]:
    """A table's lines without columns that were added later: SB3 adds their name to the head and a comma to each line."""
    if not lines:
        return lines
    head = ",".join(keys)
    added = lines[0].rstrip("\n").removeprefix(head).count(",")
    return [head + "\n", *(line.rstrip("\n").removesuffix("," * added) + "\n" for line in lines[1:])]
