"""Tasks that give no reward before they are solved."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from sb3_trpo.restarts import Grid


def of_module(module: str, name: str) -> Callable[..., Any]:
    """A function of a module beside this one, whose library is imported when the function is called."""
    return lambda *arguments: getattr(import_module(f"benchmarks.restarts.{module}"), name)(*arguments)


def grid_cell(env: gym.Env, observation: np.ndarray) -> Hashable:
    """All that the observation says."""
    return env.unwrapped.cell()  # type: ignore[attr-defined]


class FarAhead(gym.Wrapper):
    """HalfCheetah's reward is 1 once it is so far from where it began, and nothing before.

    :param distance: metres
    """

    def __init__(self, env: gym.Env, distance: float):
        super().__init__(env)
        self.distance = distance

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, _, truncated, info = self.env.step(action)
        arrived = info["x_position"] >= self.distance
        return observation, float(arrived), arrived, truncated, info


def cheetah_cell(env: gym.Env, observation: np.ndarray) -> Hashable:
    """Position in half metres, and pitch."""
    position, _, pitch = env.unwrapped.data.qpos[:3]  # type: ignore[attr-defined]
    return int(np.floor(position / 0.5)), int(np.floor(pitch / 0.7))


@dataclass(frozen=True)
class Task:
    """A task, and what is needed to explore it. An episode succeeds if it earns more than nothing.

    :param make: the environment
    :param steps: simulator steps of a run, exploration included
    :param cell: tells states apart
    :param repeat: probability that exploration repeats an action
    :param segment: actions of exploration between returns
    :param settings: of every algorithm
    """

    make: Callable[[], gym.Env]
    steps: int
    cell: Callable[[gym.Env, Any], Hashable]
    repeat: float = 0.0
    segment: int = 20
    settings: tuple[tuple[str, Any], ...] = (("ent_coef", 0.01),)


MAZE, MAZE_CELL = of_module("mazes", "maze"), of_module("mazes", "maze_cell")
TASKS = {
    "KeyCorridorS3R3": Task(of_module("grids", "KeyCorridor"), 150_000, grid_cell),
    "MountainCarContinuous": Task(
        lambda: gym.make("MountainCarContinuous-v0"), 100_000, Grid([0.1, 0.01]), repeat=0.9, segment=50, settings=()
    ),
    "HalfCheetah, 5 m": Task(
        lambda: TimeLimit(FarAhead(gym.make("HalfCheetah-v5").unwrapped, 5.0), 300),
        150_000,
        cheetah_cell,
        repeat=0.9,
        settings=(),
    ),
    "MultiRoom-N6": Task(of_module("grids", "MultiRoom"), 800_000, grid_cell, settings=(("ent_coef", 0.03),)),
    "PointMaze, large": Task(
        partial(MAZE, "PointMaze_Large-v3", (1, 1), (7, 10), 800), 400_000, MAZE_CELL, repeat=0.9, settings=(("gamma", 0.997),)
    ),
    "AntMaze, U": Task(
        partial(MAZE, "AntMaze_UMaze-v5", (1, 1), (3, 1), 1000), 300_000, MAZE_CELL, repeat=0.9, settings=(("gamma", 0.997),)
    ),
    "Montezuma, key": Task(
        of_module("games", "first_key"), 300_000, of_module("games", "place_in_game"), repeat=0.8, segment=30
    ),
}
