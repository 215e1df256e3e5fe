"""Ranks started by torchrun: one that ends takes the others with it, with a reason, and the last checkpoint goes on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sb3_trpo
from sb3_trpo import TRPO

SCRIPT = """
import os, signal, sys
from pathlib import Path
from stable_baselines3.common.callbacks import CheckpointCallback
from sb3_trpo import TRPO
from sb3_trpo.update import step
from tests.toys import ToyEnv

how, folder = sys.argv[1], Path(sys.argv[2])
checkpoints = sorted(folder.glob("*.zip"), key=lambda path: path.stat().st_mtime)
settings = dict(n_steps=32, batch_size=32, device="cpu")
if checkpoints:
    model = TRPO.load(checkpoints[-1], env=ToyEnv(), device="cpu")
else:
    model = TRPO("MlpPolicy", ToyEnv(), seed=0, **settings)
begin, solve = model.num_timesteps, step.conjugate_gradient

def fail(*args):
    if how != "go on" and os.environ["RANK"] == "1" and model._n_updates == 3:
        if how == "raise":
            raise ArithmeticError("the second rank has had enough")
        os.kill(os.getpid(), signal.SIGKILL)
    return solve(*args)

step.conjugate_gradient = fail
model.learn(4 * 64, callback=CheckpointCallback(32, str(folder)), reset_num_timesteps=not checkpoints)
print(f"rank {os.environ['RANK']} from {begin} to {model.num_timesteps}, update {model._n_updates}", flush=True)
"""


def torchrun(*arguments: object, folder: Path, log: Path) -> tuple[int, str, float]:
    """Exit status, output and seconds of two ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, arguments)]
    root = str(Path(sb3_trpo.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    with log.open("w") as output:  # a file, for a rank that is left behind would keep a pipe open
        status = subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=output, timeout=120).returncode
    return status, log.read_text(), time.monotonic() - begin


@pytest.mark.parametrize("how, reason", [("kill", "SIGKILL"), ("raise", "the second rank has had enough")])
def test_a_rank_that_ends_in_an_update_ends_all(how, reason, tmp_path):
    """In bounded time, with the reason and a status other than 0; started again, they go on from the last checkpoint."""
    (tmp_path / "train.py").write_text(SCRIPT)
    checkpoints = tmp_path / "checkpoints"
    status, output, seconds = torchrun("train.py", how, checkpoints, folder=tmp_path, log=tmp_path / "first.txt")
    assert status != 0 and reason in output, output
    assert seconds < 60.0
    assert "to 256" not in output
    saved = max(checkpoints.glob("*.zip"), key=lambda path: path.stat().st_mtime)
    assert TRPO.load(saved, device="cpu").num_timesteps == 3 * 64

    if how == "kill":
        status, output, _ = torchrun("train.py", "go on", checkpoints, folder=tmp_path, log=tmp_path / "second.txt")
        assert status == 0, output
        for rank in range(2):
            assert f"rank {rank} from 192 to 448, update 6" in output


def test_the_command_line_on_two_ranks(tmp_path):
    """One results folder and one final evaluation; the saved model has the steps of both ranks."""
    options = ["--env", "CartPole-v1", "-P", "-n", 256, "-f", "logs", "--eval-freq", -1, "--num-threads", 1, "--device", "cpu"]
    options += ["--eval-episodes", 2, "-params", "n_steps:64", "batch_size:64", "n_envs:1", "normalize:True"]
    status, output, _ = torchrun("-m", "sb3_trpo", "train", *options, folder=tmp_path, log=tmp_path / "output.txt")
    assert status == 0, output
    assert [path.name for path in (tmp_path / "logs" / "trpo").iterdir()] == ["CartPole-v1_1"]
    assert output.count("Final evaluation") == output.count("Seed: ") == 1
    model = TRPO.load(tmp_path / "logs" / "trpo" / "CartPole-v1_1" / "CartPole-v1.zip", device="cpu")
    assert (model.num_timesteps, model.n_envs) == (256, 1)
