"""Mazes of gymnasium-robotics from one corner to another: the reward is 1 at the goal, and the episode ends there."""

from collections.abc import Hashable
from typing import Any

import gymnasium as gym
import gymnasium_robotics
import numpy as np
from gymnasium.wrappers import FlattenObservation, TimeLimit

gym.register_envs(gymnasium_robotics)

Place = tuple[int, int]


class OneWay(gym.Wrapper):
    """Every episode begins in one cell of the maze, and its goal is in another; where in these cells is random.

    :param start: row and column
    :param goal: row and column
    """

    def __init__(self, env: gym.Env, start: Place, goal: Place):
        super().__init__(env)
        self.ends = {"reset_cell": np.array(start), "goal_cell": np.array(goal)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=self.ends)


def maze(env_id: str, start: Place, goal: Place, limit: int) -> gym.Env:
    """An environment that observes its place, the goal and the robot as one vector.

    :param env_id: of gymnasium-robotics
    :param limit: steps of an episode
    """
    env = gym.make(env_id, continuing_task=False).unwrapped
    return TimeLimit(FlattenObservation(OneWay(env, start, goal)), limit)


def maze_cell(env: gym.Env, observation: np.ndarray) -> Hashable:
    """Where the robot is: four cells to a square of PointMaze, sixteen to one of AntMaze."""
    x, y = observation[:2]
    width = 0.5 if env.unwrapped.maze.maze_size_scaling == 1 else 1.0  # type: ignore[attr-defined]
    return int(x // width), int(y // width)
