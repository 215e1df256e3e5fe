"""Where a vine might pay: dense rewards, a long horizon, an unstable balance, a rare reward, hidden velocities."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np


class PositionsOnly(gym.ObservationWrapper):
    """A MuJoCo task whose observation ends before the velocities: neither policy nor critic can see the state."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        space, self.shown = env.observation_space, int(env.unwrapped.observation_structure["qpos"])  # type: ignore[attr-defined]
        assert isinstance(space, gym.spaces.Box)
        self.observation_space = gym.spaces.Box(space.low[: self.shown], space.high[: self.shown], dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[: self.shown]


def hopper_without_velocities() -> gym.Env:
    return PositionsOnly(gym.make("Hopper-v5").unwrapped)


gym.register("HopperPositions-v5", hopper_without_velocities, max_episode_steps=1_000)


@dataclass(frozen=True)
class Task:
    """A task of the study.

    :param steps: simulator steps of a run
    :param gamma: discount factor
    :param kind: what is particular about it
    """

    steps: int
    gamma: float
    kind: str


TASKS = {
    "Hopper-v5": Task(300_000, 0.99, "dense rewards, falls"),
    "Swimmer-v5": Task(300_000, 0.999, "long horizon"),
    "InvertedDoublePendulum-v5": Task(100_000, 0.99, "unstable"),
    "MountainCarContinuous-v0": Task(100_000, 0.99, "rare reward"),
    "HopperPositions-v5": Task(300_000, 0.99, "partially observed"),
}
