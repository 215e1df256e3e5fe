"""A folder of checkpoints: whatever is done to the newest one is found, and the one before it is there."""

import json
import random
from pathlib import Path

import pytest

from sb3_trpo.checkpoints import has_checkpoints
from sb3_trpo.checkpoints.store import MANIFEST, DamagedError, Store

FILES = {"one": b"content" * 20, "two": bytes(range(256))}


def _newest_whole(store: Store) -> int:
    for path in store.paths():
        try:
            return store.read(path).steps
        except DamagedError:
            continue
    return -1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "run")
    for steps in (100, 200):
        store.write(steps, FILES, {"run": "x", "steps": steps})
    return store


def test_what_is_written_is_read(store: Store) -> None:
    checkpoint = store.read(store.paths()[0])
    assert checkpoint.files == FILES
    assert (checkpoint.about["run"], checkpoint.steps) == ("x", 200)
    assert has_checkpoints(store.folder) and not has_checkpoints(store.folder / "other")


@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_thousand_damages_are_found(store: Store, how: str) -> None:
    """Files cut at random bytes, or with a random bit flipped, the manifest among them."""
    rng = random.Random(0)
    path = store.paths()[0]
    for _ in range(1000):
        file = path / rng.choice([*FILES, MANIFEST])
        content = file.read_bytes()
        place = rng.randrange(len(content))
        damaged = bytearray(content[:place] if how == "cut" else content)
        if how == "flip":
            damaged[place] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        assert _newest_whole(store) == 100
        file.write_bytes(content)
    assert _newest_whole(store) == 200


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_lost_file_is_found(store: Store, name: str) -> None:
    (store.paths()[0] / name).unlink()
    with pytest.raises(DamagedError, match=name):
        store.read(store.paths()[0])
    assert _newest_whole(store) == 100


def test_an_unknown_format_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_trpo.checkpoints.store.FORMAT", 2)
    with pytest.raises(DamagedError, match="format 1"):
        store.read(store.paths()[0])


@pytest.mark.parametrize("at", range(7))
def test_writing_that_fails_leaves_the_others(store: Store, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every file, its syncing, and the last rename; also where there is one of as many steps, which is damaged."""
    (store.paths()[0] / "one").write_bytes(b"")
    calls = []

    def failing(original):
        def call(*arguments):
            calls.append(original)
            if len(calls) - 1 == at:
                raise OSError(28, "No space left on device")
            return original(*arguments)

        return call

    from sb3_trpo.checkpoints import store as module

    for name in ("sync", "_write", "sync_folder"):
        monkeypatch.setattr(module, name, failing(getattr(module, name)))
    with pytest.raises(OSError, match="No space"):
        store.write(200, FILES, {})
    assert _newest_whole(store) == 100
    assert not list(store.folder.glob("*.part"))
    monkeypatch.undo()
    store.write(200, FILES, {})
    assert _newest_whole(store) == 200


def test_pruning_leaves_the_newest_and_other_ranks(store: Store) -> None:
    other = Store(store.folder, rank=1, size=2)
    other.write(50, FILES, {})
    (store.folder / "000000000300.part").mkdir()
    (store.folder / "000000000300.rank1of2.part").mkdir()
    store.write(1_000, FILES, {})
    store.prune(2)
    assert [store.read(path).steps for path in store.paths()] == [1000, 200]
    assert [path.name for path in other.paths()] == ["000000000050.rank1of2"]
    assert [path.name for path in store.folder.glob("*.part")] == ["000000000300.rank1of2.part"]


def test_a_manifest_is_json(store: Store) -> None:
    content = json.loads((store.paths()[0] / MANIFEST).read_text())
    assert content["steps"] == 200 and content["files"].keys() == FILES.keys()
