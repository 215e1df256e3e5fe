"""What given actions lead to from a saved state: the same in every process that simulates the same world."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from zlib import crc32

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_trpo.simulators.models import Models, restore_models
from sb3_trpo.simulators.state import SimulatorState, restore_state


class Replayed(NamedTuple):
    """What an environment gave in one step; the observation as a checksum of each of its parts."""

    observation: tuple[int, ...]
    reward: float
    terminated: bool
    truncated: bool


def _checksums(space: spaces.Space, obs: Any) -> tuple[int, ...]:
    """Of an observation, or of each part of a Dict observation in the order of its space, in the space's dtype."""
    if isinstance(space, spaces.Dict):
        return tuple(checksum for key, part in space.items() for checksum in _checksums(part, obs[key]))
    return (crc32(np.ascontiguousarray(obs, dtype=space.dtype)),)  # type: ignore[arg-type]


def replay(env: gym.Env, state: SimulatorState, models: Models | None, actions: Iterable[Any]) -> list[Replayed]:
    """Take actions from a saved state until they or the episode end.

    :param env: is left where that leads
    :param state: saved anywhere
    :param models: those of the environment that the state was saved in; None to leave them as they are
    :param actions: one for each step
    """
    if models is not None:
        restore_models(env, models)
    restore_state(env, state)
    steps = []
    for action in actions:
        obs, reward, terminated, truncated, _ = env.step(action)
        steps.append(Replayed(_checksums(env.observation_space, obs), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return steps
