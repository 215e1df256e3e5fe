"""Where a vine might pay: dense rewards, a long horizon, an unstable balance, a rare reward, hidden velocities."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit


class PositionsOnly(gym.ObservationWrapper):
    """A MuJoCo task whose observation ends before the velocities: neither policy nor critic can see the state."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        space, self.shown = env.observation_space, int(env.unwrapped.observation_structure["qpos"])  # type: ignore[attr-defined]
        assert isinstance(space, gym.spaces.Box)
        self.observation_space = gym.spaces.Box(space.low[: self.shown], space.high[: self.shown], dtype=space.dtype.type)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[: self.shown]


class RewardPerMetre(gym.Wrapper):
    """A MuJoCo task that moves along x; pays 1 for every whole metre farther than ever before in the episode, nothing else."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = super().reset(seed=seed, options=options)
        self.start, self.reached = self.place, 0
        return result

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = super().step(action)
        metres = max(self.reached, int(self.place - self.start))
        reward, self.reached = float(metres - self.reached), metres
        return observation, reward, terminated, truncated, info

    @property
    def place(self) -> float:
        return float(self.env.unwrapped.data.qpos[0])  # type: ignore[attr-defined]


class AtTheEnd(gym.Wrapper):
    """Reacher's whole reward is minus the distance at the end of the episode."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, _, terminated, truncated, info = super().step(action)
        over = terminated or truncated
        return observation, float(info["reward_dist"]) if over else 0.0, over, False, info


def reacher_at_end(**arguments: Any) -> gym.Env:
    return AtTheEnd(TimeLimit(gym.make("Reacher-v5", **arguments).unwrapped, 50))


def sparse_cheetah(**arguments: Any) -> gym.Env:
    return RewardPerMetre(gym.make("HalfCheetah-v5", **arguments).unwrapped)


def hopper_without_velocities(**arguments: Any) -> gym.Env:
    return PositionsOnly(gym.make("Hopper-v5", **arguments).unwrapped)


gym.register("SparseHalfCheetah-v5", sparse_cheetah, max_episode_steps=1_000)
gym.register("ReacherAtEnd-v5", reacher_at_end)
gym.register("HopperPositions-v5", hopper_without_velocities, max_episode_steps=1_000)


@dataclass(frozen=True)
class Task:
    """A task of the study.

    :param steps: simulator steps of a run
    :param kind: what is particular about it
    :param settings: of TRPO, for all variants: those of ``trpo.yml`` where it has tuned ones
    """

    steps: int
    kind: str
    settings: dict[str, Any]


HOPPER = {"gamma": 0.995, "target_kl": 0.03, "cg_damping": 0.3}
TASKS = {
    "Hopper-v5": Task(200_000, "dense rewards, falls", HOPPER),
    "Swimmer-v5": Task(200_000, "long horizon", {"gamma": 0.9999, "gae_lambda": 0.99, "target_kl": 0.02, "cg_damping": 0.2}),
    "InvertedDoublePendulum-v5": Task(100_000, "unstable", {"target_kl": 0.02}),
    "SparseHalfCheetah-v5": Task(200_000, "sparse rewards", {"target_kl": 0.06, "cg_damping": 0.6}),
    "ReacherAtEnd-v5": Task(200_000, "one reward at the end", {"target_kl": 0.02}),
    "HopperPositions-v5": Task(200_000, "velocities hidden", HOPPER),
}
