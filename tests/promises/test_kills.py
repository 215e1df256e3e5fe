"""Runs killed with SIGKILL at random moments, and resumed: they end in what they would have ended in.

``SB3_TRPO_KILLS=40`` kills each kind of run forty times, and all kinds; without it, some are killed a few times.
"""

import multiprocessing
import os
import pickle
import random
import shutil
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from sb3_trpo.atomic import replacing
from tests.ranks import free_port
from tests.resumable_runs import KINDS, differences, outcome, train

KILLS = int(os.environ.get("SB3_TRPO_KILLS", 0))
NAMES = [*KINDS, "ranks"] if KILLS else ["cartpole", "ranks"]
TIMEOUT = 600.0 if KILLS else 100.0  # seconds until a run that is not killed has ended

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.resumable_runs", "torch._dynamo", "mujoco", "gymnasium.envs.mujoco.hopper_v5"])


def _run(name: str, folder: Path, rank: int, size: int, port: int) -> None:
    """A process's whole life: what it ends with is written at its end."""
    if size > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({key: str(value) for key, value in place.items()})
    os.dup2(os.open(folder / f"output{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    (folder / "begun").touch()
    found = outcome(train(name, folder), folder)
    with replacing(folder / f"outcome{rank}") as file:
        pickle.dump(found, file)
    os._exit(0)


def _start(name: str, folder: Path) -> list[BaseProcess]:
    """A run's processes, when they have begun."""
    folder.mkdir(exist_ok=True)
    (folder / "begun").unlink(missing_ok=True)
    size, port = (2 if name == "ranks" else 1), free_port()
    name = "gsde" if name == "ranks" else name  # with running statistics
    processes = [CONTEXT.Process(target=_run, args=(name, folder, rank, size, port)) for rank in range(size)]
    for process in processes:
        process.start()
    while not (folder / "begun").exists():
        time.sleep(0.001)
    return processes


def _wait_for_a_checkpoint(processes: list[BaseProcess], folder: Path) -> None:
    while not any(folder.glob("checkpoints/0*")) and processes[0].is_alive():
        time.sleep(0.001)


def _finish(processes: list[BaseProcess], folder: Path) -> list[dict[str, Any]]:
    for process in processes:
        process.join(TIMEOUT)
    if any(process.exitcode != 0 for process in processes):
        raise AssertionError("\n".join(path.read_text() for path in folder.glob("output*.txt")))
    return [pickle.loads((folder / f"outcome{rank}").read_bytes()) for rank in range(len(processes))]


def _kill(processes: list[BaseProcess], rng: random.Random) -> bool:
    """Kill all, ranks one after the other; whether any was still running."""
    running = False
    for process in rng.sample(processes, len(processes)):
        running |= process.is_alive()
        process.kill()
        time.sleep(rng.choice((0.0, 0.05)) if len(processes) > 1 else 0.0)
    for process in processes:
        process.join()
    return running


@pytest.mark.parametrize("name", NAMES)
def test_killed_and_resumed(name: str, tmp_path: Path) -> None:
    rng = random.Random(f"{name} {KILLS}")
    processes = _start(name, tmp_path / "whole")
    _wait_for_a_checkpoint(processes, tmp_path / "whole")
    begin = time.monotonic()
    expected = _finish(processes, tmp_path / "whole")
    seconds = time.monotonic() - begin
    killed = writing = begun = 0
    while killed < (KILLS or 2):
        folder = tmp_path / "killed"
        processes = _start(name, folder)
        if rng.random() < 0.9:
            _wait_for_a_checkpoint(processes, folder)
        time.sleep(rng.uniform(0.0, seconds))
        if _kill(processes, rng):
            killed += 1
            writing += any(folder.glob("checkpoints/*.part"))
            begun += not any(folder.glob("checkpoints/0*"))
            for found, wanted in zip(_finish(_start(name, folder), folder), expected, strict=True):
                assert differences(wanted, found) == []
        else:
            seconds *= 0.9
        shutil.rmtree(folder)
    print(f"{name}: {killed} kills, {writing} in the middle of writing a checkpoint, {begun} before the first one")
