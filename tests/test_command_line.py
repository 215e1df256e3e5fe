"""``python -m sb3_trpo``: what it runs, what it prints after the last update, and what it refuses."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

import sb3_trpo
from sb3_trpo import TRPO
from sb3_trpo.__main__ import SCRIPTS, main

SEED = 7
EPISODES = 3
FINAL_EVALUATION = re.compile(r"^Final evaluation: mean reward (\S+) \+/- (\S+) over (\d+) episodes$", re.MULTILINE)


def command_line(*arguments: object, folder: Path) -> subprocess.CompletedProcess:
    """Run it in a folder that is not the checkout, with the package that is being tested."""
    command = [sys.executable, "-m", "sb3_trpo", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(sb3_trpo.__file__).parents[1])}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training run with running statistics: what it printed, and the folder of its results."""
    folder = tmp_path_factory.mktemp("run")
    options = ["--env", "CartPole-v1", "-n", 600, "-f", "logs", "--eval-freq", -1, "--num-threads", 1, "--device", "cpu"]
    options += ["--seed", SEED, "--eval-episodes", EPISODES, "-params", "n_steps:64", "batch_size:64", "normalize:True"]
    finished = command_line("train", *options, folder=folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout, folder


def test_trains_this_trpo_with_the_settings_of_this_package(run):
    output, folder = run
    archive = folder / "logs" / "trpo" / "CartPole-v1_1" / "CartPole-v1.zip"
    model = TRPO.load(archive, device="cpu")
    assert (model.num_timesteps, model.n_steps, model.batch_size, model.n_envs) == (640, 64, 64, 2)
    assert model.cg_damping == 1e-3  # from trpo.yml, and not the constructor's default
    assert str(Path("sb3_trpo", "hyperparams", "trpo.yml")) in output
    # sb3-contrib's class has no such option, so its zip would not have it
    with zipfile.ZipFile(archive) as content:
        assert json.loads(content.read("data"))["advantage_estimator"] == "gae"


def test_final_evaluation_is_of_the_saved_model(run):
    """The same episodes again, from the files alone: the saved policy and the saved statistics."""
    output, folder = run
    (printed,) = FINAL_EVALUATION.findall(output)
    results = folder / "logs" / "trpo" / "CartPole-v1_1"
    env = VecNormalize.load(str(results / "CartPole-v1" / "vecnormalize.pkl"), make_vec_env("CartPole-v1", 1, SEED))
    env.training, env.norm_reward = False, False
    mean, std = evaluate_policy(TRPO.load(results / "CartPole-v1.zip", device="cpu"), env, EPISODES)
    assert printed == (f"{mean:.1f}", f"{std:.1f}", str(EPISODES))
    assert output.index("Saving to") < output.index("Final evaluation")


def test_plays_what_it_trained(run):
    _, folder = run
    # Even the best policy's episode is over after 500 steps, and rewards are printed when one is.
    finished = command_line("enjoy", "--env", "CartPole-v1", "-f", "logs", "--no-render", "-n", 500, folder=folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Mean reward: " in finished.stdout


def test_unknown_environment_fails(tmp_path):
    finished = command_line("train", "--env", "NoSuchTask-v0", folder=tmp_path)
    assert finished.returncode != 0
    assert "NoSuchTask-v0" in finished.stderr


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["fly"], "train, enjoy, record_video"),
        (["train", "--algo", "ppo"], "--algo ppo"),
        (["enjoy", "--env", "CartPole-v1", "--algo=ppo"], "--algo ppo"),
        (["train", "--algo"], "--algo"),
    ],
)
def test_wrong_command_line_is_refused_in_one_line(arguments, named, capsys):
    assert main(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert named in errors


@pytest.mark.parametrize("script, package", [("train", "rl_zoo3"), ("enjoy", "requests"), ("record_video", "moviepy")])
def test_missing_package_is_named_in_one_line(script, package, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "sb3_trpo.zoo", raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # Python's own way to say that a module cannot be imported
    assert main([script]) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors == f'python -m sb3_trpo: {script} needs the package {package}: pip install "sb3_trpo[zoo]"\n'


def test_help_lists_the_scripts(capsys):
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(script in output for script in SCRIPTS)
    assert len(output.splitlines()) < 10
    assert main([]) == 2
