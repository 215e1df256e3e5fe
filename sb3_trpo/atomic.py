"""Files that are whole or not there: written beside their place, synced to the disk, and put in place in a single step."""

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """An open file that takes the place of another when the block ends.

    Whatever happens before, a power cut included, leaves the old file as it was; an exception removes the new one.

    :param path: of the file, which need not exist; a symbolic link stays one
    :raises OSError: if the disk is full or the folder cannot be written to
    """
    target = path.resolve()
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):  # a pipe or a device has nothing to keep
        with target.open("wb") as file:
            yield file
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            sync(file)
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def place_of(path: str | Path, suffix: str) -> Path:
    """Where Stable-Baselines3 saves to: with a suffix if there is none, beside a folder of that name, in new folders.

    :param path: as a user gives it
    :param suffix: without its dot
    """
    path = Path(path)
    path = path if path.suffix else Path(f"{path}.{suffix}")
    if path.is_dir():
        warnings.warn(f"Path '{path}' is a folder. Will save instead to {path}_2")
        path = Path(f"{path}_2")
    if not path.parent.exists():
        warnings.warn(f"Path '{path.parent}' does not exist. Will create it.")
        path.parent.mkdir(exist_ok=True, parents=True)
    return path


def sync(file: IO[bytes]) -> None:
    """Wait until a file's content is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where the system lets a folder be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
