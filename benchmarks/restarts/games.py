"""Montezuma's Revenge from the start to its first reward, the key, seen as the console's memory."""

from collections.abc import Hashable
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit, TransformObservation

gym.register_envs(ale_py)

ROOM, X, Y = 3, 42, 43  # bytes of the memory
LIMIT = 1_000


class FirstReward(gym.Wrapper):
    """The episode ends with the first reward, which is 1, or with the first life lost."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self.lives = info["lives"]
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        earned = float(reward) > 0.0
        return observation, float(earned), terminated or earned or info["lives"] < self.lives, truncated, info


def first_key() -> gym.Env:
    """Actions hold four frames and stick with a probability of 0.25, as in every ``ALE/…-v5``."""
    game = FirstReward(gym.make("ALE/MontezumaRevenge-v5", obs_type="ram").unwrapped)
    return TimeLimit(TransformObservation(game, _shares, gym.spaces.Box(0.0, 1.0, (128,))), LIMIT)


def _shares(memory: np.ndarray) -> np.ndarray:
    return memory.astype(np.float32) / 255


def place_in_game(env: gym.Env, observation: np.ndarray) -> Hashable:
    """The room, and where the player is in it, in squares of eight."""
    room, x, y = np.rint(255 * observation[[ROOM, X, Y]]).astype(int)
    return int(room), int(x) // 8, int(y) // 8
