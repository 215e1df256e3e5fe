"""What is known of others' classes: simulators, what belongs to an instance, and attributes that are no state."""

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from sb3_trpo.simulators.stack import name_of

# Simulators by their class, each with the module here that saves it: imported when one is met.
SIMULATORS = {
    "mujoco._structs.MjData": "sb3_trpo.simulators.mujoco_state:save_data",
    "mujoco._structs.MjModel": "sb3_trpo.simulators.mujoco_state:save_model",
    "ale_py._ale_py.ALEInterface": "sb3_trpo.simulators.ale_state:save",
}

# Windows and renderers: they show the state and are no part of it.
_RENDERING = (
    *("pygame.", "glfw.", "gymnasium.envs.mujoco.mujoco_rendering."),
    *("mujoco.renderer.", "mujoco.viewer.", "mujoco._render."),
)

# Attributes without bearing on what the simulation does next: what an environment is made from or says of itself, and
# records of past episodes.
_NO_STATE = {
    "gymnasium.core.Env": ("metadata", "spec", "_ezpickle_args", "_ezpickle_kwargs"),
    "gymnasium.core.Wrapper": ("env", "_metadata", "_cached_spec", "_saved_kwargs"),
    "gymnasium.envs.mujoco.mujoco_env.MujocoEnv": ("observation_structure",),
    "gymnasium.envs.toy_text.taxi.TaxiEnv": ("P", "initial_state_distrib"),
    "gymnasium.envs.toy_text.cliffwalking.CliffWalkingEnv": ("P", "initial_state_distrib"),
    "gymnasium.envs.toy_text.frozen_lake.FrozenLakeEnv": ("P", "initial_state_distrib"),
    "gymnasium.wrappers.common.RecordEpisodeStatistics": ("time_queue", "return_queue", "length_queue", "episode_start_time"),
    "stable_baselines3.common.monitor.Monitor": (
        *("results_writer", "t_start"),
        *("episode_returns", "episode_lengths", "episode_times"),
    ),
}


# Environments and wrappers whose attributes, simulators apart, are only ever bound anew: nothing in them needs a copy.
REBINDING = (
    "gymnasium.envs.mujoco.",
    "gymnasium.wrappers.common.TimeLimit",
    "gymnasium.wrappers.common.OrderEnforcing",
    "gymnasium.wrappers.common.PassiveEnvChecker",
)


def is_simulator(kind: type) -> bool:
    """Whether a class is a simulator's that there is a module for."""
    return name_of(kind) in SIMULATORS


def is_rendering(kind: type) -> bool:
    """Whether a class draws or shows the state."""
    return name_of(kind).startswith(_RENDERING)


def is_pinned(value: Any) -> bool:
    """Whether an attribute belongs to the instance: a restored state leaves the instance its own."""
    kind = type(value)
    return issubclass(kind, (gym.Env, spaces.Space, FunctionType, EnvSpec)) or is_rendering(kind) or is_simulator(kind)


def _without_state(kind: type) -> frozenset[str]:
    """Names of the attributes of a class of environments or wrappers that are no state."""
    return frozenset(name for base in kind.__mro__ for name in _NO_STATE.get(name_of(base), ()))


without_state: Callable[[type], frozenset[str]] = cache(_without_state)
