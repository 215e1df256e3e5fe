"""A folder of checkpoints: each is whole, or found to be damaged.

A checkpoint is a folder of files named after the run's env steps. It is written under another name, files first, then a
manifest with their checksums and its own; then everything is synced and the folder gets its name. What is read is what was
checked. Every rank has checkpoints of its own.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from sb3_trpo.atomic import sync, sync_folder

MANIFEST = "manifest.json"
FORMAT = 1
_PART = ".part"


class Checkpoint(NamedTuple):
    """A checkpoint that was found to be whole.

    :param path: its folder
    :param about: what the manifest says besides checksums
    :param files: content by name
    """

    path: Path
    about: dict[str, Any]
    files: dict[str, bytes]

    @property
    def steps(self) -> int:
        return steps_of(self.path)


def steps_of(path: Path) -> int:
    """Env steps of the run when a checkpoint was saved."""
    return int(path.name.partition(".")[0])


class DamagedError(ValueError):
    """A checkpoint that is not as it was written."""


class Store:
    """The checkpoints of one rank in a folder.

    :param folder: of all ranks' checkpoints
    :param rank: whose
    :param size: number of ranks
    """

    def __init__(self, folder: str | Path, rank: int = 0, size: int = 1):
        self.folder = Path(folder)
        self._suffix = "" if size == 1 else f".rank{rank}of{size}"

    def paths(self) -> list[Path]:
        """All checkpoints, damaged ones included, the newest first."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        names = ((path, path.name.partition(".")) for path in found)
        own = [path for path, (steps, dot, rest) in names if steps.isdigit() and dot + rest == self._suffix]
        return sorted(own, key=steps_of, reverse=True)

    def read(self, path: Path) -> Checkpoint:
        """
        :raises DamagedError: if a file is missing, or is not as it was written
        """
        try:
            about, listed = _manifest((path / MANIFEST).read_bytes())
            files = {name: (path / name).read_bytes() for name in listed}
        except OSError as error:
            raise DamagedError(f"{error.filename} cannot be read ({error.strerror})") from error
        for name, expected in listed.items():
            if sha256(files[name]).hexdigest() != expected:
                raise DamagedError(f"{path / name} is not as it was written: its checksum is another")
        return Checkpoint(path, about, files)

    def write(self, steps: int, files: Mapping[str, bytes], about: Mapping[str, Any]) -> Path:
        """Add a checkpoint; one of as many steps, which is damaged or says the same, makes room for it.

        :param steps: of the run
        :param files: content by name
        :param about: whatever JSON can hold
        :raises OSError: if it cannot be written; the others are as they were
        """
        path = self.folder / f"{steps:012d}{self._suffix}"
        part = path.with_name(path.name + _PART)
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for name, content in files.items():
                _write(part / name, content)
            _write(part / MANIFEST, _manifest_of(files, about))
            sync_folder(part)
            if path.exists():
                shutil.rmtree(path)
            part.rename(path)
            sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return path

    def remove(self, path: Path) -> None:
        """Forget a checkpoint that does not count."""
        shutil.rmtree(path, ignore_errors=True)

    def about(self, path: Path) -> dict[str, Any]:
        """What a checkpoint's manifest says, its files unread; empty if it is damaged."""
        try:
            return _manifest((path / MANIFEST).read_bytes())[0]
        except (OSError, DamagedError):
            return {}

    def prune(self, keep: int, own: Callable[[Path], bool] = lambda path: True) -> None:
        """Remove all but the newest, and what is left of one that was being written when the process was killed.

        :param keep: how many to keep
        :param own: which to count; others are left alone
        """
        for path in list(filter(own, self.paths()))[keep:]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"*{self._suffix}{_PART}"):
            if path.name.partition(".")[2] == f"{self._suffix}{_PART}".removeprefix("."):
                shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        sync(file)


def _manifest_of(files: Mapping[str, bytes], about: Mapping[str, Any]) -> bytes:
    checksums = {name: sha256(content).hexdigest() for name, content in files.items()}
    return _signed({"format": FORMAT, **about, "files": checksums})


def _signed(content: dict[str, Any]) -> bytes:
    """JSON with a checksum of the rest of it as its last entry."""
    checksum = sha256(json.dumps(content, indent=1).encode()).hexdigest()
    return (json.dumps({**content, "checksum": checksum}, indent=1) + "\n").encode()


def _manifest(data: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """What a manifest says, and the checksums of files."""
    try:
        content = json.loads(data)
        whole = content.pop("checksum", None) is not None and _signed(content) == data
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise DamagedError(f"{MANIFEST} is not as it was written")
    if content["format"] != FORMAT:
        raise DamagedError(f"it is of format {content['format']}, and this version of sb3_trpo reads format {FORMAT}")
    return content, content.pop("files")
