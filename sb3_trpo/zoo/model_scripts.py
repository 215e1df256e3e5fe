"""RL Zoo's scripts that train a model, tune one, or run a saved one."""

import os
import runpy
from argparse import Namespace
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import Any

import rl_zoo3.train
import yaml
from rl_zoo3.utils import get_model_path

import sb3_trpo.zoo  # noqa: F401  (registers TRPO)
from sb3_trpo.zoo.checks import check_device, check_environment, check_installed, check_made, has_display
from sb3_trpo.zoo.command_line import Script
from sb3_trpo.zoo.experiment import EvaluatedExperiment
from sb3_trpo.zoo.masked_play import let_scripts_ask_for_masks
from sb3_trpo.zoo.resuming import check_checkpoint_options

ALGO = "trpo"
VARIANTS = ("trpo_mask", "trpo_lstm", "trpo_mask_lstm")
LOGS = "logs"  # where train writes
HUB = "rl-trained-agents"  # this repository's trained agents; a folder of this name RL Zoo fills with models from the hub
SETTINGS = {None: "trpo.yml", "single_path": "trpo.yml", "vine": "trpo_vine.yml"}


def train() -> None:
    rl_zoo3.train.ExperimentManager = EvaluatedExperiment  # type: ignore[misc]
    rl_zoo3.train.train()


def enjoy() -> None:
    import rl_zoo3.enjoy  # needs a package that no other script does

    let_scripts_ask_for_masks(rl_zoo3.enjoy)
    rl_zoo3.enjoy.enjoy()


def record_video() -> None:
    let_scripts_ask_for_masks()
    runpy.run_module("rl_zoo3.record_video", run_name="__main__")


def complete_training(options: Namespace) -> None:
    """For ``train`` and ``optimize``: choose the settings file, which ``--sampling`` stands above."""
    _check_algo(options)
    check_checkpoint_options(options)
    check_environment(options.env, options.gym_packages)
    if options.trained_agent and not (options.trained_agent.endswith(".zip") and os.path.isfile(options.trained_agent)):
        raise ValueError(f"there is no model {options.trained_agent}: give the path of a .zip file that train has saved")
    check_device(options.device)
    if options.tensorboard_log:
        check_installed("tensorboard", "--tensorboard-log")
    if options.track:
        check_installed("wandb", "--track")
    if options.vec_env != "dummy":  # an error in another process would not be told in one line
        check_made(options.env, options.env_kwargs or {})
    if options.conf_file is None:
        name = f"{options.algo}.yml" if options.algo in VARIANTS else SETTINGS[options.sampling]
        options.conf_file = str(files("sb3_trpo") / "hyperparams" / name)
    if options.sampling is not None:
        options.hyperparams = {"sampling": options.sampling, **(options.hyperparams or {})}


def complete_enjoy(options: Namespace) -> None:
    """For ``enjoy``: look whether there is a model, and a display to play on."""
    check_device(options.device)
    _find_model(options)
    if not (options.no_render or has_display()):
        raise ValueError("there is no display to play on: add --no-render, or use record_video")


def complete_record_video(options: Namespace) -> None:
    """For ``record_video``: look whether there is a model, and whether its environment can be drawn without a display."""
    folder = _find_model(options)
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")
    env_kwargs: dict[str, Any] = {}
    if folder is not None:
        with open(os.path.join(folder, options.env, "args.yml")) as file:
            env_kwargs |= yaml.unsafe_load(file)["env_kwargs"] or {}  # as RL Zoo reads it
    check_made(options.env.gym_id, {**env_kwargs, **(options.env_kwargs or {}), "render_mode": "rgb_array"})


def _check_algo(options: Namespace) -> None:
    if options.algo not in (ALGO, *VARIANTS):
        raise ValueError(
            f"--algo {options.algo} is not run from here: leave --algo out, give {', '.join(VARIANTS)}, or call "
            "RL Zoo's own script"
        )


def _find_model(options: Namespace) -> str | None:
    """The folder of the model to load; None if RL Zoo is to download it.

    By default it is of the last run that has one, and if there is none, of the trained agent that is in the repository.
    """
    _check_algo(options)
    check_environment(options.env.gym_id, getattr(options, "gym_packages", []))
    if options.exp_id == 0:  # RL Zoo would take the last run, even one that was cut short or was a search
        options.exp_id = _last_run_with_model(options.folder, options)
        trained = _last_run_with_model(HUB, options)
        if not options.exp_id and trained and options.folder == LOGS:  # a clone of this repository has trained agents
            options.folder, options.exp_id = HUB, trained
    choice = (options.load_best, options.load_checkpoint, options.load_last_checkpoint)
    try:
        with redirect_stdout(None):  # RL Zoo will say it, too
            folder = get_model_path(options.exp_id, options.folder, options.algo, options.env, *choice)[2]
    except (AssertionError, ValueError) as error:
        if HUB in options.folder:
            return None
        raise ValueError(f"{error}: train one, or name another folder with --folder") from None
    _check_beside(Path(folder, options.env))
    return folder


def _check_beside(folder: Path) -> None:
    """Whether what a model is played with lies beside it."""
    needed = ["args.yml", "config.yml"]
    if (folder / "config.yml").is_file():
        settings = dict(yaml.unsafe_load((folder / "config.yml").read_text()))  # as RL Zoo reads it
        needed += ["vecnormalize.pkl"] if settings.get("normalize") else []
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"the model has no {', '.join(missing)} in {folder}: copy that folder together with the model")


def _last_run_with_model(folder: str, options: Namespace) -> int:
    """The number of the last run that has a model, 0 if none has."""
    runs = Path(folder, options.algo).glob(f"{options.env}_*")
    ids = [run.name.removeprefix(f"{options.env}_") for run in runs if any(run.glob("*.zip"))]
    return max((int(run_id) for run_id in ids if run_id.isdigit()), default=0)


SCRIPTS = {
    "train": Script(train, complete_training, {"algo": ALGO}, ["env"]),
    "optimize": Script(train, complete_training, {"algo": ALGO, "optimize_hyperparameters": True}, ["env"]),
    "enjoy": Script(enjoy, complete_enjoy, {"algo": ALGO, "folder": LOGS}, ["env"]),
    "record_video": Script(record_video, complete_record_video, {"algo": ALGO, "folder": LOGS}, ["env"]),
}
