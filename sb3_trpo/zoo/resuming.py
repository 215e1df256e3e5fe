"""``train --resume``: the last run of an environment, with the options that it was started with."""

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_trpo.checkpoints import ExactCheckpoint, has_checkpoints
from sb3_trpo.distributed import rank_and_size
from sb3_trpo.trpo import TRPO

# Options that say which run it is, or that have no bearing on what it learns
_FREE = {"algo", "env", "log_folder", "resume", "n_timesteps", "verbose", "progress", "num_threads", "checkpoint_minutes"}


def check_checkpoint_options(options: Namespace) -> None:
    """Refuse options that do not go together, and minutes that are none.

    :raises ValueError: naming the option
    """
    minutes = options.checkpoint_minutes
    if minutes is not None and not 0.0 < minutes < float("inf"):
        raise ValueError(f"--checkpoint-minutes {minutes}: give a number above 0")
    if minutes is None and not options.resume:
        return
    if options.optimize_hyperparameters:
        raise ValueError("--resume and --checkpoint-minutes are for train: a search goes on from its --storage")
    if rank_and_size()[1] > 1:
        raise ValueError(
            "--resume and --checkpoint-minutes are for one process: on several ranks give a script's learn an ExactCheckpoint"
        )


def take_up(options: Namespace, defaults: Mapping[str, Any]) -> None:
    """Fill in the options of the last run; those given must be the same.

    :param options: as given
    :param defaults: of all options, where they are not
    :raises ValueError: if there is no such run, it has no checkpoint, or it was started with another option
    """
    run = _last_run(Path(options.log_folder, options.algo), options.env.replace("/", "-"))
    if run is None:
        raise ValueError(
            f"there is no run of {options.env} in {options.log_folder} to resume: train one, or name --log-folder"
        )
    options_file = run / options.env.replace("/", "-") / "args.yml"
    saved = yaml.unsafe_load(options_file.read_text()) if options_file.exists() else {}  # as RL Zoo reads it
    if not has_checkpoints(run / "checkpoints"):
        minutes = saved.get("checkpoint_minutes")
        raise ValueError(
            f"the last run, {run}, has no checkpoint: it ended before the first one, after {minutes:g} minutes. Start anew"
            if minutes
            else f"the last run, {run}, has no checkpoint: only a run with --checkpoint-minutes can be resumed"
        )
    for name, value in vars(options).items():
        if value == defaults.get(name):
            setattr(options, name, saved.get(name, value))
        elif name == "hyperparams":
            _check_given(value, saved["hyperparams"] or {}, "-params {}:", run)
            options.hyperparams = saved["hyperparams"]
        elif name not in _FREE:
            _check_given({name: value}, saved, "--{} ", run)
    options.resume = str(run)


def _check_given(given: Mapping[str, Any], saved: Mapping[str, Any], form: str, run: Path) -> None:
    for name, value in given.items():
        if name not in saved or saved[name] != value:
            option = form.format(name.replace("_", "-") if form.startswith("--") else name)
            was = f"with {saved[name]}" if name in saved else "without it"
            raise ValueError(
                f"{option}{value}: {run} was started {was}, so its result would differ from that of an uninterrupted "
                "run: leave the option out, or start a new run"
            )


def _last_run(folder: Path, env: str) -> Path | None:
    found = ((path, re.fullmatch(rf"{re.escape(env)}_(\d+)(_.*)?", path.name)) for path in folder.glob(f"{env}_*"))
    runs = {int(match[1]): path for path, match in found if match}
    return runs[max(runs)] if runs else None


class ResumableExperiment(ExperimentManager):
    """RL Zoo's experiment with exact checkpoints, and one that goes on from them in its own folder."""

    def __init__(self, args: Namespace, *arguments: Any, **options: Any):
        super().__init__(args, *arguments, **options)
        self.checkpoint_minutes: float | None = getattr(args, "checkpoint_minutes", None)
        self.resumed: bool = bool(getattr(args, "resume", False))
        if self.resumed:
            self.save_path = args.resume
            self.params_path = f"{self.save_path}/{self.env_name}"

    def create_callbacks(self) -> None:
        """RL Zoo's callbacks, and the one that saves."""
        super().create_callbacks()
        if self.checkpoint_minutes is not None:
            self.callbacks.append(ExactCheckpoint(Path(self.save_path, "checkpoints"), every_minutes=self.checkpoint_minutes))

    def create_envs(self, *arguments: Any, **options: Any) -> Any:
        """The environments; a resumed run's write into the tables of episodes that are there."""
        if self.resumed:
            self.monitor_kwargs = {**self.monitor_kwargs, "override_existing": False}
        return super().create_envs(*arguments, **options)

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """Prepare everything up to the model, which is the last checkpoint's if the run is resumed."""
        made = super().setup_experiment()
        if made is None or not self.resumed:
            return made
        model, saved = made
        settings = {name: value for name, value in self._hyperparams.items() if name != "policy"}
        env = model.get_env()
        assert env is not None and isinstance(model, TRPO)
        resumed = type(model).resume(Path(self.save_path, "checkpoints"), env, self.device, seed=self.seed, **settings)
        print(f"Going on after {resumed.num_timesteps} steps")
        return resumed, saved

    def _save_config(self, saved_hyperparams: dict[str, Any]) -> None:
        if not self.resumed:  # or they are there, and being killed while they are written would lose them
            super()._save_config(saved_hyperparams)
        else:
            print(f"Log path: {self.save_path}")
