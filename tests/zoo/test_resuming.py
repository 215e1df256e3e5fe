"""``train --checkpoint-minutes`` and ``train --resume``: a run that was asked to end, or killed, goes on in its own folder."""

import signal
import subprocess
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_trpo import TRPO
from sb3_trpo.checkpoints import EXIT_STATUS, has_checkpoints
from sb3_trpo.zoo.resuming import _last_run, check_checkpoint_options, take_up
from tests.toys import parameters, same
from tests.zoo.test_command_line import command, command_line

OPTIONS = ["--env", "CartPole-v1", "--num-threads", 1, "--device", "cpu"]
FIRST = [*OPTIONS, "-n", 1_000, "--eval-freq", 200, "--eval-episodes", 2, "--checkpoint-minutes", 0.0005, "--seed", 4]
FIRST += ["-params", "n_steps:64", "batch_size:64", "normalize:True"]


def _ended(folder: Path, number: signal.Signals) -> tuple[int, Path]:
    """A run that gets a signal after its first checkpoint: its exit status, and where it is."""
    words, environment = command("train", *FIRST)
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = folder / "logs" / "trpo" / "CartPole-v1_1"
    while not has_checkpoints(run / "checkpoints"):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait(60.0), run


def _results(run: Path) -> list[Any]:
    evaluations = np.load(run / "evaluations.npz")
    episodes = [line.split(",")[:2] for line in (run / "0.monitor.csv").read_text().splitlines()[1:]]
    return [{key: values.tolist() for key, values in evaluations.items()}, episodes]


def test_a_run_that_ended_goes_on_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    assert command_line("train", *FIRST, folder=tmp_path / "whole").returncode == 0
    whole = tmp_path / "whole" / "logs" / "trpo" / "CartPole-v1_1"
    status, run = _ended(tmp_path, signal.SIGTERM)
    assert status == EXIT_STATUS

    for changed, told in ({"hyperparams": {"n_steps": 32}}, "-params n_steps:32"), ({"seed": 5}, "--seed 5"):
        with pytest.raises(ValueError, match=f"{told}.* was started with"):
            take_up(_options(tmp_path, **changed), {"seed": -1, "hyperparams": None})
    finished = command_line("train", *OPTIONS, "--resume", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "Going on after" in finished.stdout
    assert _results(run) == _results(whole)
    models = [TRPO.load(folder / "CartPole-v1.zip", device="cpu") for folder in (run, whole)]
    assert same(*map(parameters, models))


def _options(folder: Path, **changed: Any) -> Namespace:
    return Namespace(**{"log_folder": str(folder / "logs"), "algo": "trpo", "env": "CartPole-v1", **changed})


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no run of CartPole-v1 in .*logs"):
        take_up(_options(tmp_path), {})
    (tmp_path / "logs" / "trpo" / "CartPole-v1_3").mkdir(parents=True)
    with pytest.raises(ValueError, match="CartPole-v1_3, has no checkpoint: only a run with --checkpoint-minutes"):
        take_up(_options(tmp_path), {})
    folder = tmp_path / "logs" / "trpo" / "CartPole-v1_3" / "CartPole-v1"
    folder.mkdir()
    (folder / "args.yml").write_text("checkpoint_minutes: 10.0\n")
    with pytest.raises(ValueError, match="CartPole-v1_3, has no checkpoint: it ended before the first one, after 10 minutes"):
        take_up(_options(tmp_path), {})


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"checkpoint_minutes": 0.0}, "above 0"),
        ({"checkpoint_minutes": float("nan")}, "above 0"),
        ({"resume": True, "optimize_hyperparameters": True}, "--storage"),
    ],
)
def test_options_that_are_refused(changed: dict[str, Any], told: str) -> None:
    options = Namespace(**{"resume": False, "checkpoint_minutes": None, "optimize_hyperparameters": False, **changed})
    with pytest.raises(ValueError, match=told):
        check_checkpoint_options(options)


def test_the_last_run_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    for name in ("A-v1_2", "A-v1_10", "A-v1_9_some-id", "A-v1_x", "A-v10_11"):
        (tmp_path / name).mkdir()
    assert _last_run(tmp_path, "A-v1") == tmp_path / "A-v1_10"
    assert _last_run(tmp_path, "B-v1") is None
