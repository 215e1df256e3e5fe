"""RL Zoo with this package's TRPO: importing this module makes it RL Zoo's ``trpo``.

RL Zoo's own scripts get it with ``--gym-packages sb3_trpo.zoo``; ``python -m sb3_trpo`` needs no such argument.
"""

import runpy
import sys
from collections.abc import Sequence
from importlib.resources import files

import rl_zoo3
import rl_zoo3.exp_manager
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import sync_envs_normalization

from sb3_trpo.trpo import TRPO

ALGO = "trpo"
SETTINGS = str(files("sb3_trpo") / "hyperparams" / "trpo.yml")

rl_zoo3.ALGOS[ALGO] = TRPO


class EvaluatedExperiment(rl_zoo3.exp_manager.ExperimentManager):
    """RL Zoo's experiment, which also evaluates the model it ends with.

    RL Zoo evaluates at fixed numbers of steps while it trains, so nothing it prints is about the last update.
    """

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


def run_script(script: str, arguments: Sequence[str]) -> None:
    """Run a script of RL Zoo as if from its command line, with this TRPO and our settings unless others are named.

    :param script: its name in the package ``rl_zoo3``
    :param arguments: its command line
    """
    # The first of two equal options gives way to the second, so a user's own always wins
    defaults = ["--algo", ALGO]
    if script == "train":
        defaults += ["--conf-file", SETTINGS]
    sys.argv = [f"python -m sb3_trpo {script}", *defaults, *arguments]
    # RL Zoo's train takes this class from the module when it is run, and calls no hook of ours after the last update
    rl_zoo3.exp_manager.ExperimentManager = EvaluatedExperiment  # type: ignore[misc]
    runpy.run_module(f"rl_zoo3.{script}", run_name="__main__")
