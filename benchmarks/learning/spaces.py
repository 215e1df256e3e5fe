"""What a search draws settings from: this package's Optuna space for TRPO, RL Zoo's for PPO."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import torch as th
from rl_zoo3.hyperparams_opt import convert_onpolicy_params, sample_ppo_params
from stable_baselines3 import PPO

from benchmarks.common.training import policy_kwargs_of
from sb3_trpo import TRPO
from sb3_trpo.zoo.search_space import convert_trpo_params, sample_trpo_params

MEDIUM = {"pi": [256, 256], "vf": [256, 256]}  # RL Zoo's name for it


@dataclass(frozen=True)
class Space:
    """
    :param algorithm: its defaults count where settings say nothing
    :param sample: draws a candidate, called as RL Zoo calls it
    :param convert: the same candidate's settings, of the values that were drawn
    :param alike: settings that are drawn as they are
    """

    algorithm: type
    sample: Callable[[optuna.Trial, int, int, dict], dict[str, Any]]
    convert: Callable[[dict[str, Any]], dict[str, Any]]
    alike: tuple[str, ...]

    def draw(self, trial: optuna.Trial, env_id: str) -> dict[str, Any]:
        """A candidate's settings."""
        space = gym.make(env_id).action_space
        n_actions = int(np.prod(space.shape)) if isinstance(space, gym.spaces.Box) else 0
        return self.sample(trial, n_actions, 0, {})

    def as_drawn(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings by the names and in the units that the space draws."""
        defaults = {name: parameter.default for name, parameter in inspect.signature(self.algorithm).parameters.items()}
        settings = {**defaults, **settings}
        drawn = {name: settings[name] for name in self.alike}
        drawn |= {f"{name}_pow": round(math.log2(settings[name])) for name in ("n_steps", "batch_size")}
        drawn |= {f"one_minus_{name}": 1.0 - settings[name] for name in ("gamma", "gae_lambda")}
        network = policy_kwargs_of(settings)
        drawn |= {
            "net_arch": "medium" if network.get("net_arch") == MEDIUM else "small",
            "activation_fn": "relu" if network.get("activation_fn") is th.nn.ReLU else "tanh",
            "log_std_init": float(network.get("log_std_init", 0.0)),
        }
        return {"ent_coef": max(1e-8, settings["ent_coef"]), **drawn}


class _SmallerLambda:
    """A trial that draws ``gae_lambda`` down to 0.8, where RL Zoo's space ends at 0.9.

    :param trial: draws the values
    """

    def __init__(self, trial: optuna.Trial):
        self.trial = trial

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trial, name)

    def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
        return self.trial.suggest_float(name, low, 0.2 if name == "one_minus_gae_lambda" else high, **options)


def _sample_ppo(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """RL Zoo's space, and what TRPO's space has besides: a smaller ``gae_lambda`` and the first standard deviation."""
    settings = sample_ppo_params(_SmallerLambda(trial), n_actions, n_envs, additional_args)  # type: ignore[arg-type]
    settings["policy_kwargs"]["log_std_init"] = trial.suggest_float("log_std_init", -3.0, 0.0)
    return settings


def _convert_ppo(drawn: dict[str, Any]) -> dict[str, Any]:
    settings = convert_onpolicy_params({name: value for name, value in drawn.items() if name != "log_std_init"})
    settings["policy_kwargs"]["log_std_init"] = drawn["log_std_init"]
    return settings


TRPOS = ("target_kl", "cg_damping", "n_critic_updates", "cg_max_steps", "learning_rate")
ESTIMATES = ("advantage_estimator", "normalize_advantage", "fisher_sample_fraction")
SPACES = {
    "sb3_trpo": Space(TRPO, sample_trpo_params, convert_trpo_params, (*TRPOS, *ESTIMATES)),
    "ppo": Space(PPO, _sample_ppo, _convert_ppo, ("clip_range", "n_epochs", "max_grad_norm", "learning_rate")),
}
