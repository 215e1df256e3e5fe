"""CartPole without velocities: one observation does not tell where the pole is falling, two do.

    python examples/memory.py

A policy without a memory balances for some 45 steps; an episode ends after 500.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_trpo import TRPO, RecurrentTRPO


class WithoutVelocities(gym.ObservationWrapper):
    """The cart's position and the pole's angle."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,))

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[[0, 2]]


if __name__ == "__main__":
    settings: dict[str, Any] = {"n_steps": 256, "batch_size": 256, "gamma": 0.98, "seed": 0, "device": "cpu"}
    network = {"lstm_hidden_size": 64, "net_arch": [64]}
    for model in (
        TRPO("MlpPolicy", make_vec_env(WithoutVelocities, 8, seed=0), **settings),
        RecurrentTRPO("MlpLstmPolicy", make_vec_env(WithoutVelocities, 8, seed=0), policy_kwargs=network, **settings),
    ):
        model.learn(60_000)
        print(type(model).__name__, evaluate_policy(model, make_vec_env(WithoutVelocities, 5, seed=1), 20))
