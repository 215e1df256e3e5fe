"""RL Zoo's experiment with what a vine needs, mistakes told in one line, and an evaluation of what training ends with."""

import inspect
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import optuna
import rl_zoo3
from rl_zoo3.callbacks import TrialEvalCallback
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import SimpleLinearSchedule
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, sync_envs_normalization

from sb3_trpo.arguments import reject_unknown_arguments
from sb3_trpo.checks import check_count
from sb3_trpo.discrete import MASKS
from sb3_trpo.loading import saved_attributes
from sb3_trpo.sampling.vine.envs import branch_template
from sb3_trpo.schedules import SCHEDULABLE
from sb3_trpo.simulators import CloneableEnv
from sb3_trpo.trpo import TRPO
from sb3_trpo.variants.refusals import WITHOUT_MASKS
from sb3_trpo.vec_env import WorkerVecEnv, clone_vec_env
from sb3_trpo.zoo.best_settings import save_best_settings
from sb3_trpo.zoo.masked_play import PlayingEvalCallback, player
from sb3_trpo.zoo.resuming import ResumableExperiment

TABLES = 10  # that a training prints


def cloneable(env: gym.Env) -> CloneableEnv:
    """An environment that offers its state, as the ``env_wrapper`` of RL Zoo's settings; a vine with RL Zoo's own
    ``--vec-env subproc`` needs it.

    It lives here, and not with the class, because RL Zoo replaces gymnasium's TimeLimit: the process of the environment must
    import RL Zoo before it makes one, or its states are not those of the environments made in this process.

    :param env: the environment with its other wrappers
    """
    return CloneableEnv(env)


def workers(env_fns: Sequence[Callable[[], gym.Env]], **options: Any) -> WorkerVecEnv:
    """Environments in worker processes, which import RL Zoo as this one has."""
    return WorkerVecEnv([partial(_made, env_fn) for env_fn in env_fns], **options)


def _made(env_fn: Callable[[], gym.Env]) -> gym.Env:
    return env_fn()


class EvaluatedExperiment(ResumableExperiment):
    """RL Zoo's experiment for TRPO.

    It also evaluates the model it ends with: RL Zoo evaluates at fixed numbers of steps while it trains, so nothing it
    prints is about the last update.
    """

    _study: optuna.Study | None = None

    def __init__(self, *args: Any, vec_env_type: str = "dummy", **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._in_workers = vec_env_type != "dummy"

    def create_envs(self, n_envs: int, eval_env: bool = False, no_log: bool = False) -> VecEnv:
        """Make environments; in workers if they are to be in other processes, but for one alone that evaluates.

        :param n_envs: how many
        :param eval_env: whether to evaluate in them
        :param no_log: whether to leave Monitor's file out
        """
        in_workers = self._in_workers and not (eval_env and n_envs == 1)
        self.vec_env_class = workers if in_workers else DummyVecEnv  # type: ignore[assignment]
        return super().create_envs(n_envs, eval_env, no_log)

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the settings, and remember them as they were given."""
        hyperparams, saved = super().read_hyperparameters()
        check_count("n_envs", hyperparams.get("n_envs", 1), 1)
        self._given = dict(saved)
        return hyperparams, saved

    @staticmethod
    def _preprocess_schedules(hyperparams: dict[str, Any]) -> dict[str, Any]:
        """Make functions of ``lin_0.05`` and the like: RL Zoo does so for PPO's settings, here it is done for TRPO's, too."""
        for name in SCHEDULABLE:
            value = hyperparams.get(name)
            if isinstance(value, str) and value.startswith("lin_"):
                hyperparams[name] = SimpleLinearSchedule(float(value.removeprefix("lin_")))
        return ExperimentManager._preprocess_schedules(hyperparams)

    def _sampling(self, hyperparams: dict[str, Any]) -> str | None:
        """How it will sample: as the settings say, or else the model that training goes on with."""
        if "sampling" not in hyperparams and self.continue_training:
            return saved_attributes(self.trained_agent).get("sampling")
        return hyperparams.get("sampling")

    def setup_experiment(self) -> tuple[BaseAlgorithm, dict[str, Any]] | None:
        """Prepare everything up to the model.

        :raises SystemExit: with one line that says what is wrong with the settings or the environment
        """
        try:
            made = super().setup_experiment()
            self._check_settings()
        except Exception as error:  # settings name classes and hold code: there is no end to what may come of them
            if self.verbose > 1:
                raise
            what = f"{self.env_name.gym_id}, settings from {self.config}: {type(error).__name__}: {error}"
            sys.exit(f"{sys.argv[0]}: {' '.join(what.split())} (--verbose 2 shows where)")
        return made

    def _check_settings(self) -> None:
        """Find out what RL Zoo finds out late: names it writes into a loaded model unseen, values and environments that
        every trial of a search would stumble over, masks that are missing, and what a vine or a checkpoint cannot copy."""
        known = inspect.signature(TRPO).parameters
        reject_unknown_arguments({name: value for name, value in self._hyperparams.items() if name not in known}, known)
        vine = self._sampling(self._hyperparams) == "vine"
        saves, masked = self.checkpoint_minutes is not None, "_mask" in self.algo
        if not (self.optimize_hyperparameters or vine or saves or masked):
            return
        verbose, self.verbose = self.verbose, 0
        env = self.create_envs(1, eval_env=True)
        self.verbose = verbose
        try:
            if masked and not env.has_attr(MASKS):
                raise ValueError(WITHOUT_MASKS.format(f"use --algo {self.algo.replace('_mask', '')}"))
            if self.optimize_hyperparameters:
                rl_zoo3.ALGOS[self.algo](env=env, device=self.device, **self._hyperparams)
            if vine or saves:
                env.reset()
            if vine:
                branch_template(env)
            if saves:
                clone_vec_env(env)
        finally:
            env.close()

    def learn(self, model: BaseAlgorithm) -> None:
        """Train, with about ten tables on the screen if nothing else is asked for; a TensorBoard log gets every rollout.

        :param model: of :meth:`setup_experiment`
        """
        if self.log_interval == -1 and not self.tensorboard_log and isinstance(model, TRPO):
            self.log_interval = max(1, self.n_timesteps // (model.n_steps * model.n_envs * TABLES))
        super().learn(model)

    def objective(self, trial: optuna.Trial) -> float:
        """Evaluate one candidate.

        :param trial: draws its settings
        """
        self._study = trial.study
        return super().objective(trial)

    def hyperparameters_optimization(self) -> None:
        """Search, then write down the best trial's settings and how to train with them."""
        super().hyperparameters_optimization()
        if self._study is None:  # there was nothing left to try
            return
        folder = Path(self.log_folder, self.algo)
        path, text = save_best_settings(self._study, self._given, self.env_name.gym_id, folder)
        print(f"Best settings, also in {path}:\n\n{text}")
        command = ["python", "-m", "sb3_trpo", "train", "--env", self.env_name.gym_id, "--conf-file", str(path)]
        command += [] if self.algo == "trpo" else ["--algo", self.algo]
        print(f"Train with them: {shlex.join(command)}")

    def save_trained_model(self, model: BaseAlgorithm) -> None:
        """Save the model, then print the mean and the standard deviation of its undiscounted, unnormalised return.

        The environment is made anew, as RL Zoo makes those it evaluates in while it trains, with the running statistics
        the model was trained with. Their ``--eval-episodes`` apply, and actions are the likeliest ones except where
        RL Zoo samples them (Atari and MiniGrid).

        :param model: the trained model
        """
        super().save_trained_model(model)
        env = self.create_envs(self.n_eval_envs, eval_env=True)
        training_env = model.get_env()
        if training_env is not None:
            sync_envs_normalization(training_env, env)
        try:
            mean, std = evaluate_policy(player(model, env), env, self.n_eval_episodes, deterministic=self.deterministic_eval)
        finally:
            env.close()
        print(f"Final evaluation: mean reward {mean:.1f} +/- {std:.1f} over {self.n_eval_episodes} episodes")


class EvaluatedTrial(PlayingEvalCallback, TrialEvalCallback):
    """RL Zoo's evaluation of a trial by env steps, which a trial whose budget ends before its first evaluation gets too.

    RL Zoo counts calls of the callback, and a vine's branches take steps without any.
    """

    periods = 0

    def _on_step(self) -> bool:
        periods = self.num_timesteps // (self.eval_freq * self.training_env.num_envs)
        if periods == self.periods:
            return True
        self.periods = periods
        return self._evaluate()

    def _on_training_end(self) -> None:
        if self.eval_idx == 0:
            self._evaluate()

    def _evaluate(self) -> bool:
        self.n_calls = self.eval_freq  # a number of calls at which RL Zoo evaluates
        return super()._on_step()
