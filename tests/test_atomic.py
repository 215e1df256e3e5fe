"""Files that are replaced whole: a model that is saved over another one."""

import multiprocessing
import os
import random
import resource
import time
from pathlib import Path

import pytest

from sb3_trpo import TRPO
from sb3_trpo.atomic import replacing


@pytest.fixture(scope="module")
def model() -> TRPO:
    return TRPO("MlpPolicy", "CartPole-v1", device="cpu")


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as file:
        file.write(b"new")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"


def test_links_and_permissions_stay(model: TRPO, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    (tmp_path / "link.zip").symlink_to("model.zip")
    (tmp_path / "model.zip").chmod(0o640)
    before = (tmp_path / "model.zip").stat()
    model.save(tmp_path / "link")
    after = (tmp_path / "model.zip").stat()
    assert (tmp_path / "link.zip").is_symlink()
    assert after.st_mode == before.st_mode and after.st_ino != before.st_ino


def test_a_full_disk_leaves_the_old_model(model: TRPO, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(Exception, match=r"File too large|unexpected pos|write"):
            model.save(tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    TRPO.load(tmp_path / "model", device="cpu")
    assert len(list(tmp_path.iterdir())) == 1


def _save_again_and_again(folder: str) -> None:
    model = TRPO("MlpPolicy", "CartPole-v1", device="cpu")
    while True:
        model.save(f"{folder}/model")


def test_killed_while_it_saves(tmp_path: Path) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=_save_again_and_again, args=(str(tmp_path),))
    process.start()
    while not (tmp_path / "model.zip").exists():
        time.sleep(0.001)
    time.sleep(random.Random(os.getpid()).uniform(0.0, 0.1))
    process.kill()
    process.join()
    TRPO.load(tmp_path / "model", device="cpu")


def test_places_are_those_of_stable_baselines3(model: TRPO, tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    with pytest.warns(UserWarning, match="is a folder"):
        model.save(str(tmp_path / "folder"))
    with pytest.warns(UserWarning, match="does not exist"):
        model.save(tmp_path / "new" / "model.v1")
    assert (tmp_path / "folder.zip_2").is_file() and (tmp_path / "new" / "model.v1").is_file()
