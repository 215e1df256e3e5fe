"""Frames of the size and kind NatureCNN is used on, without an emulator: speed and memory do not depend on the game."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class FrameEnv(gym.Env):
    """Stacks of four 84×84 grey frames, six actions; never stepped."""

    observation_space = spaces.Box(0, 255, (4, 84, 84), dtype=np.uint8)
    action_space = spaces.Discrete(6)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self.observation_space.low, {}

    @staticmethod
    def frames(rng: np.random.Generator, count: int) -> np.ndarray:
        """Sparse bright blocks on black, moving from frame to frame, as in a game: ``[count, 4, 84, 84]`` bytes."""
        frames = np.zeros((count, 4, 84, 84), dtype=np.uint8)
        for stack in frames:
            for x, y in rng.integers(0, 76, (6, 2)):
                for shift, frame in enumerate(stack):
                    frame[y : y + 6, x + shift : x + shift + 3] = 200
        return frames
