"""Six people, six jobs, a pair at a time: whoever and whatever is taken is masked, and TRPO chooses among the rest.

    python examples/masks.py

A random choice is worth 3.0 in the mean, the best one 4.8.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from stable_baselines3.common.env_util import make_vec_env

from sb3_trpo import MaskableTRPO


class Assignment(gym.Env):
    """An action is a person and a job; the observation tells what each pair is worth, and who and what is free."""

    action_space = spaces.MultiDiscrete([6, 6])
    observation_space = spaces.Box(0.0, 1.0, (48,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.worth, self.free = self.np_random.random((6, 6)), np.ones((2, 6), dtype=bool)
        return self._look(), {}

    def _look(self) -> np.ndarray:
        return np.concatenate([self.worth.ravel(), self.free.ravel()]).astype(np.float32)

    def action_masks(self) -> np.ndarray:
        """Twelve truth values: six for the first action component, six for the second."""
        return self.free.ravel()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        person, job = action
        self.free[0, person] = self.free[1, job] = False
        return self._look(), float(self.worth[person, job]), not self.free.any(), False, {}


if __name__ == "__main__":
    model = MaskableTRPO("MlpPolicy", make_vec_env(Assignment, 8, seed=0), n_steps=256, target_kl=0.02, seed=0)
    print("before", evaluate_policy(model, make_vec_env(Assignment, 1, seed=1), 100))
    model.learn(200_000)
    print("after", evaluate_policy(model, make_vec_env(Assignment, 1, seed=1), 100))
