"""``python -m sb3_trpo``: what it runs, prints and writes, and what it refuses."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import rl_zoo3
import yaml
from matplotlib import pyplot as plt
from moviepy import VideoFileClip
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

import sb3_trpo
from sb3_trpo import TRPO
from sb3_trpo.__main__ import SCRIPTS, main
from sb3_trpo.zoo.checks import check_environment
from sb3_trpo.zoo.plot_scripts import Plot
from tests.documents import ROOT

SEED = 7
EPISODES = 3
FINAL_EVALUATION = re.compile(r"^Final evaluation: mean reward (\S+) \+/- (\S+) over (\d+) episodes$", re.MULTILINE)


def command(*arguments: object) -> tuple[list[str], dict[str, str]]:
    """The command line's words, and environment variables for the package that is being tested."""
    words = [sys.executable, "-m", "sb3_trpo", *map(str, arguments)]
    return words, {**os.environ, "PYTHONPATH": str(Path(sb3_trpo.__file__).parents[1])}


def command_line(*arguments: object, folder: Path) -> subprocess.CompletedProcess:
    """Run it in a folder that is not the checkout."""
    words, environment = command(*arguments)
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training run with running statistics: what it printed, and the folder of its results."""
    folder = tmp_path_factory.mktemp("run")
    options = ["--env", "CartPole-v1", "-n", 600, "--eval-freq", 200, "--num-threads", 1, "--device", "cpu"]
    options += ["--seed", SEED, "--eval-episodes", EPISODES, "-params", "n_steps:8", "batch_size:16", "normalize:True"]
    finished = command_line("train", *options, folder=folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout, folder


@pytest.fixture(autouse=True)
def algorithms_as_they_were(monkeypatch):
    """A command that plays replaces RL Zoo's algorithms, for its own process."""
    for name, algorithm in rl_zoo3.ALGOS.items():
        monkeypatch.setitem(rl_zoo3.ALGOS, name, algorithm)


def test_trains_this_trpo_with_the_settings_of_this_package(run):
    output, folder = run
    archive = folder / "logs" / "trpo" / "CartPole-v1_1" / "CartPole-v1.zip"
    model = TRPO.load(archive, device="cpu")
    assert (model.num_timesteps, model.n_steps, model.batch_size, model.n_envs) == (608, 8, 16, 2)
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
    finished = command_line("enjoy", "--env", "CartPole-v1", "--no-render", "-n", 500, folder=folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Mean reward: " in finished.stdout


def test_plays_the_repositorys_agent_if_nothing_was_trained():
    finished = command_line("enjoy", "--env", "Swimmer-v5", "--no-render", "-n", 1000, folder=ROOT)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (score,) = re.findall(r"Mean reward: (\S+)", finished.stdout)
    assert float(score) > 355.0


@pytest.mark.parametrize("name", ["args.yml", "config.yml", "vecnormalize.pkl"])
@pytest.mark.parametrize("script", ["enjoy", "record_video"])
def test_what_a_model_lacks_beside_it_is_named(run, script, name, tmp_path, monkeypatch, capsys):
    shutil.copytree(run[1] / "logs", tmp_path / "logs")
    (tmp_path / "logs" / "trpo" / "CartPole-v1_1" / "CartPole-v1" / name).unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit) as stop:
        main([script, "--env", "CartPole-v1", "-n", "10"])
    assert stop.value.code == 2 and f"has no {name} in logs/trpo/CartPole-v1_1/CartPole-v1" in capsys.readouterr().err


def test_records_a_video_that_plays(run):
    _, folder = run
    finished = command_line("record_video", "--env", "CartPole-v1", "-n", 20, folder=folder)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (path,) = (folder / "logs" / "trpo" / "CartPole-v1_1" / "videos").glob("*.mp4")
    with VideoFileClip(str(path)) as video:
        assert video.n_frames >= 20
        assert np.ptp(video.get_frame(0.1)) > 100  # a dark cart on white


@pytest.mark.parametrize(
    "script, picture",
    [("plot_train", "plot_train-CartPole-v1-Training_Episodic_Reward"), ("all_plots", "all_plots-Results_CartPole-v1")],
)
def test_pictures_have_a_curve_without_a_display(script, picture, run, monkeypatch, capsys):
    """A run of some tens of episodes, fewer than RL Zoo's window of a hundred."""
    folder = run[1]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with plt.rc_context():
        main([script, "--env", "CartPole-v1"])
    plt.close("all")
    assert f"Saved plots/{picture}.png" in capsys.readouterr().out
    assert [path.name for path in (folder / "plots").glob(f"{script}*")] == [f"{picture}.png"]
    pixels = (plt.imread(folder / "plots" / f"{picture}.png")[..., :3] * 255).round()
    blue = [76, 114, 176]  # the first colour that seaborn draws with; a frame without a curve has none of it
    assert (pixels == blue).all(axis=-1).sum() > 200


@pytest.mark.parametrize(
    "arguments, named",
    [
        ("plot_train --env CartPole-v1 Hopper-v5", "no episode of Hopper-v5"),
        ("all_plots --env CartPole-v1 Hopper-v5", "there is no run of Hopper-v5 in logs/trpo"),
    ],
)
def test_every_environment_of_a_picture_needs_a_run(arguments, named, run, monkeypatch, capsys):
    monkeypatch.chdir(run[1])
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split(" "))
    assert named in capsys.readouterr().err


def test_a_hole_in_the_table_is_told(run, monkeypatch, capsys):
    monkeypatch.chdir(run[1])
    monkeypatch.setattr(sys, "argv", sys.argv)
    with plt.rc_context():
        main(["all_plots", "--env", "CartPole-v1", "--algos", "trpo", "ppo"])
    plt.close("all")
    output, errors = capsys.readouterr()
    assert "0.0 +/- 0.0" in output
    assert "No run of CartPole-v1 in logs/ppo was evaluated twice: its 0.0 +/- 0.0 stands for none" in errors


def test_pictures_of_other_axes_have_other_names(run, monkeypatch):
    monkeypatch.chdir(run[1])
    monkeypatch.setattr(sys, "argv", sys.argv)
    with plt.rc_context():
        main(["plot_train", "--env", "CartPole-v1", "-x", "episodes"])
    plt.close("all")
    assert Path("plots", "plot_train-CartPole-v1-by_episodes-Training_Episodic_Reward.png").is_file()


def test_about_ten_tables_are_printed(run):
    """Of thirty-eight rollouts here; evaluations have theirs."""
    assert 10 <= len(re.findall(r"time/", run[0])) <= 20


def test_pictures_without_a_curve_are_refused():
    with pytest.raises(SystemExit, match="nothing here"):
        Plot(plt.figure, "empty", lambda options: [], "nothing here").run()
    plt.close("all")


def test_a_vine_in_other_processes(tmp_path):
    options = ["--env", "Pendulum-v1", "-n", 200, "--eval-freq", -1, "--eval-episodes", 1, "--vec-env", "workers"]
    options += ["--sampling", "vine", "-params", "n_envs:1", "n_steps:64", "vine_kwargs:dict(branch_length=3)"]
    finished = command_line("train", *options, folder=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert str(Path("sb3_trpo", "hyperparams", "trpo_vine.yml")) in finished.stdout
    run = tmp_path / "logs" / "trpo" / "Pendulum-v1_1"
    model = TRPO.load(run / "Pendulum-v1.zip", device="cpu")
    assert (model.sampling, model.vine_kwargs) == ("vine", {"branch_length": 3})
    assert model.num_timesteps > model._n_updates * 64  # the branches' steps are in it
    saved = dict(yaml.unsafe_load((run / "Pendulum-v1" / "config.yml").read_text()))
    assert saved["sampling"] == "vine"


def test_a_search_of_the_vines_settings_ends_with_a_return(tmp_path):
    """RL Zoo counts the callback's calls, of which the vine makes too few for one evaluation."""
    options = ["--env", "CartPole-v1", "-n", 600, "--n-trials", 1, "--sampling", "vine", "--num-threads", 1, "--seed", SEED]
    finished = command_line("optimize", *options, folder=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (value,) = re.findall(r"^Value:  (\S+)$", finished.stdout, re.MULTILINE)
    assert 1 <= float(value) <= 500
    assert "branch_length" in finished.stdout

    (command,) = re.findall(r"^Train with them: python -m sb3_trpo (.*)$", finished.stdout, re.MULTILINE)
    trained = command_line(*command.split(" "), "-n", 10, "--eval-episodes", 1, "--eval-freq", -1, folder=tmp_path)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (archive,) = (tmp_path / "logs" / "trpo").glob("*/CartPole-v1.zip")
    model = TRPO.load(archive, device="cpu")
    (report,) = (tmp_path / "logs" / "trpo").glob("report_*.csv")
    (trial,) = csv.DictReader(report.open())
    assert model.sampling == "vine"
    assert model.vine_kwargs["branch_length"] == int(trial["params_branch_length"])
    assert model.target_kl == float(trial["params_target_kl"])
    assert model.n_steps == 2 ** int(trial["params_n_steps_pow"])
    assert model.policy_kwargs["activation_fn"] == {"tanh": nn.Tanh, "relu": nn.ReLU}[trial["params_activation_fn"]]
    assert len(model.policy_kwargs["net_arch"]["pi"]) == 2


@pytest.mark.parametrize(
    "arguments, named",
    [
        ("fly", "train, optimize, enjoy, record_video"),
        ("train --env CartPole-v1 --algo ppo", "leave --algo out"),
        ("train", "give --env"),
        ("train --resume", "give --env"),
        ("optimize -n 100", "--env"),
        ("enjoy", "--env"),
        ("record_video", "--env"),
        ("train --env CartPole-v1 -n -5", "--n-timesteps -5: give at least 1"),
        ("train --env CartPole-v1 -n 0", "--n-timesteps 0: give at least 1"),
        ("train --env CartPole-v1 --log-interval 0", "--log-interval 0: give at least 1, or -2"),
        ("optimize --env CartPole-v1 --n-trials 0", "--n-trials 0: give at least 1"),
        ("enjoy --env CartPole-v1 -n 0", "--n-timesteps 0: give at least 1"),
        ("record_video --env CartPole-v1 --n-envs 0", "--n-envs 0: give at least 1"),
        ("train --env CartPole-v1 --device cuda:99", "--device cuda:99: PyTorch finds no such device here"),
        ("enjoy --env CartPole-v1 --device cuda:99", "--device cuda:99"),
        ("train --env CartPole-v1 --device gpu", "give auto, cpu, cuda"),
        ("train --env CartPole-v1 --device meta", "--device meta: PyTorch finds no such device"),
        ("enjoy --env CartPole-v1 --algo=ppo", "leave --algo out"),
        ("train --env CartPole-v1 --algo pppo", "leave --algo out"),
        ("train --algo", "--algo"),
        ("train --envv CartPole-v1", "did you mean --env?"),
        ("train --sampling grape", "'vine'"),
        ("train --env CartPole-v1 -params sampling:vine", "-params sampling:\"'vine'\""),
        ("train --env CartPole-v1 -params target_kl:1/0", "division by zero: give values as Python"),
        ("train --env CartPol-v1", "did you mean CartPole-v1?"),
        ("train --env NoSuchTask-v0 --gym-packages no_such_package", "no_such_package"),
        ("train --env HopperBulletEnv-v0", "pip install pybullet_envs_gymnasium"),
        ("train --env CartPole-v1 -i none.zip", "none.zip"),
        ("train --env CartPole-v1 --n-eval-envs 0", "at least 1"),
        ("train --env CartPole-v1 --vec-env subproc --env-kwargs size:3", "size"),
        ("enjoy --env Hoper-v5", "did you mean Hopper-v5?"),
        ("enjoy --env CartPole-v1", "--folder"),
        ("record_video --env CartPole-v1", "--folder"),
        ("plot_train --env CartPole-v1", "--exp-folder"),
        ("plot_train", "--env"),
        ("all_plots", "--env"),
        ("all_plots --env CartPole-v1", "there is no run of CartPole-v1 in logs/trpo"),
        ("plot_from_file -i none", "all_plots --output none"),
    ],
)
def test_wrong_command_line_is_refused_in_one_line(arguments, named, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit) as stop:
        main(arguments.split(" "))
    assert stop.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert named in errors


def test_a_game_whose_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)  # Python's own way to say that a module cannot be imported
    for name in [name for name, spec in gym.registry.items() if "ale_py" in str(spec.entry_point)]:
        monkeypatch.delitem(gym.registry, name)
    for game in ("PongNoFrameskip-v4", "ALE/Pong-v5"):
        with pytest.raises(ValueError, match=r"needs the package ale_py: pip install \"sb3_trpo\[atari\]\""):
            check_environment(game, [])


@pytest.mark.parametrize(
    "arguments, named",
    [
        ("train --env CartPole-v1 -params targt_kl:0.1", "did you mean target_kl?"),
        ("train --env CartPole-v1 -i ZIP -params targt_kl:0.1", "did you mean target_kl?"),
        ("optimize --env CartPole-v1 -params cg_max_steps:0.5", "cg_max_steps=0.5"),
        ("train --env CartPole-v1 --conf-file mine.yml", "target_kl='falling' is of type str"),
        ("train --env CartPole-v1 --conf-file none.yml", "none.yml"),
        ("train --env CartPole-v1 -params vine_kwargs:dict(n_states=3)", 'sampling="vine"'),
        ("train --env LunarLander-v3 --sampling vine", "LunarLander cannot be copied"),
        ("train --env CartPole-v1 -params n_envs:0", "n_envs=0 is too small"),
        ("optimize --env CartPole-v1 --algo trpo_mask", "has no method action_masks(): "),
        ("train --env CartPole-v1 --algo trpo_mask", "has no method action_masks(): "),
        ("train --env CartPole-v1 --algo trpo_mask_lstm -params policy:'MlpLstmPolicy'", "or use --algo trpo_lstm."),
        ("optimize --env LunarLander-v3 --sampling vine", "LunarLander cannot be copied"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(arguments, named, run, tmp_path, monkeypatch):
    archive = run[1] / "logs" / "trpo" / "CartPole-v1_1" / "CartPole-v1.zip"
    (tmp_path / "mine.yml").write_text("default: {policy: MlpPolicy, n_timesteps: 100, target_kl: falling}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit) as stop:
        main(arguments.replace("ZIP", str(archive)).split(" "))
    assert named in str(stop.value)
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    "script, package",
    [
        ("train", "rl_zoo3"),
        ("enjoy", "requests"),
        ("record_video", "moviepy"),
        ("plot_train", "seaborn"),
        ("all_plots", "scipy"),
    ],
)
def test_missing_package_is_named_in_one_line(script, package, monkeypatch):
    for module in [module for module in sys.modules if module.startswith("sb3_trpo.zoo")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as stop:
        main([script])
    assert stop.value.code == f'python -m sb3_trpo: {script} needs the package {package}: pip install "sb3_trpo[zoo]"'


def test_help_lists_the_scripts(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    output = capsys.readouterr().out
    assert all(script in output for script in SCRIPTS)
    assert len(output.splitlines()) < 15
    with pytest.raises(SystemExit, match="2"):
        main([])


def test_help_of_a_script_has_our_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    output = capsys.readouterr().out
    assert "--sampling {single_path,vine}" in output
    assert "(default: 25000)" in output and "(default: logs)" in output
    assert "(default: None)" not in output and "(default: False)" not in output
    assert "trpo_mask_lstm (default: trpo)" in " ".join(output.split()) and "ppo" not in output
    assert "workers, or subproc, in worker" in " ".join(output.split())
