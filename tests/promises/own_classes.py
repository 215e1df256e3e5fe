"""A user's script with classes of its own: prints where the first update of a vine has led.

python own_classes.py START_METHOD N_WORKERS, START_METHOD being "none" for environments in this process.
"""

import sys
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_trpo import TRPO
from sb3_trpo.simulators import CloneableEnv


@dataclass
class Point:
    x: float


class Walk(gym.Env):
    """Keeps its state in objects of another class; the outcome of a step depends on whose class that is."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, **kwargs: Any) -> Any:
        super().reset(**kwargs)
        self.points = [Point(self.np_random.normal())]
        return np.array([self.points[0].x], np.float32), {}

    def step(self, action: int) -> Any:
        self.points[0].x += self.np_random.normal() + 2 * action - 1
        own = self.points[0] == Point(self.points[0].x)  # False for another class
        return np.array([self.points[0].x], np.float32), own * abs(self.points[0].x), False, False, {}


if __name__ == "__main__":
    start_method, n_workers = sys.argv[1], int(sys.argv[2])
    makers = [lambda: CloneableEnv(Walk())] * 2
    env: Any = DummyVecEnv(makers) if start_method == "none" else SubprocVecEnv(makers, start_method=start_method)
    vine = {"n_states": 16, "branches_per_state": 2, "branch_length": 5, "n_workers": n_workers}
    model = TRPO("MlpPolicy", env, n_steps=16, sampling="vine", vine_kwargs=vine, seed=0, device="cpu")
    model.learn(1)
    print(model.policy.action_net.weight.double().sum().item())
    model.close_vine()
    env.close()
