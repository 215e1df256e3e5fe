"""RL Zoo's experiment with what a vine needs, mistakes told in one line, and an evaluation of what training ends with."""

import inspect
import json
import sys
import zipfile
from typing import Any

import gymnasium as gym
from rl_zoo3.callbacks import TrialEvalCallback
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import SubprocVecEnv, sync_envs_normalization

from sb3_trpo.sampling.vine.envs import branch_template
from sb3_trpo.settings import reject_unknown_arguments
from sb3_trpo.simulators import CloneableEnv
from sb3_trpo.trpo import TRPO
from sb3_trpo.vec_env import clone_vec_env
from sb3_trpo.zoo.resuming import ResumableExperiment

CLONEABLE = "sb3_trpo.zoo.cloneable"


def cloneable(env: gym.Env) -> CloneableEnv:
    """An environment that offers its state, as the ``env_wrapper`` of RL Zoo's settings; a vine with ``--vec-env subproc``
    needs it.

    It lives here, and not with the class, because RL Zoo replaces gymnasium's TimeLimit: the process of the environment must
    import RL Zoo before it makes one, or its states are not those of the environments made in this process.

    :param env: the environment with its other wrappers
    """
    return CloneableEnv(env)


class EvaluatedExperiment(ResumableExperiment):
    """RL Zoo's experiment for TRPO.

    It also evaluates the model it ends with: RL Zoo evaluates at fixed numbers of steps while it trains, so nothing it
    prints is about the last update.
    """

    def read_hyperparameters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the settings; environments in other processes whose state is needed are made to offer it."""
        hyperparams, saved = super().read_hyperparameters()
        needed = self._sampling(hyperparams) == "vine" or self.checkpoint_minutes is not None
        if needed and self.vec_env_class is SubprocVecEnv:
            wrappers = hyperparams.get("env_wrapper") or []
            wrappers = wrappers if isinstance(wrappers, list) else [wrappers]
            if CLONEABLE not in wrappers:
                wrappers = [*wrappers, CLONEABLE]
            hyperparams["env_wrapper"] = saved["env_wrapper"] = wrappers
        return hyperparams, saved

    def _sampling(self, hyperparams: dict[str, Any]) -> str | None:
        """How it will sample: as the settings say, or else the model that training goes on with."""
        if "sampling" not in hyperparams and self.continue_training:
            with zipfile.ZipFile(self.trained_agent) as archive:
                return json.loads(archive.read("data")).get("sampling")
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
        every trial of a search would stumble over, and what a vine or a checkpoint cannot copy."""
        known = inspect.signature(TRPO.__init__).parameters
        reject_unknown_arguments({name: value for name, value in self._hyperparams.items() if name not in known})
        vine = self._sampling(self._hyperparams) == "vine"
        saves = self.checkpoint_minutes is not None
        if not (self.optimize_hyperparameters or vine or saves):
            return
        verbose, self.verbose = self.verbose, 0
        env = self.create_envs(1, eval_env=True)
        self.verbose = verbose
        try:
            if self.optimize_hyperparameters:
                TRPO(env=env, device=self.device, **self._hyperparams)
            if vine or saves:
                env.reset()
            if vine:
                branch_template(env)
            if saves:
                clone_vec_env(env)
        finally:
            env.close()

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
            mean, std = evaluate_policy(model, env, self.n_eval_episodes, deterministic=self.deterministic_eval)
        finally:
            env.close()
        print(f"Final evaluation: mean reward {mean:.1f} +/- {std:.1f} over {self.n_eval_episodes} episodes")


class EvaluatedTrial(TrialEvalCallback):
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
