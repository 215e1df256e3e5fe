"""DummyVecEnv without its deep copies, which take a fifth of a MuJoCo step and more of a lighter one."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs

from sb3_trpo.vec_env.layers import innermost

UNCHANGEABLE = {bool, int, float, str, type(None), np.bool_, np.int64, np.float32, np.float64}


@contextmanager
def shallow_copies(env: VecEnv) -> Iterator[None]:
    """For a while, let an innermost DummyVecEnv deep-copy only what can change; what it returns is the same.

    A subclass of DummyVecEnv is left as it is.

    :param env: the environments with their wrappers
    """
    inner = env.unwrapped
    remove_shallow_copies(env)
    if type(inner) is not DummyVecEnv or "step_wait" in vars(inner):
        yield
        return
    inner.step_wait = partial(_step_wait, inner)  # type: ignore[method-assign]
    try:
        yield
    finally:
        remove_shallow_copies(env)


def remove_shallow_copies(env: VecEnv) -> None:
    """Give an innermost DummyVecEnv its own method back, if an interruption has kept :func:`shallow_copies` from it.

    :param env: the environments with their wrappers
    """
    inner = innermost(env)
    if inner is not None and getattr(vars(inner).get("step_wait"), "func", None) is _step_wait:
        vars(inner).pop("step_wait", None)


def _step_wait(vec_env: DummyVecEnv) -> VecEnvStepReturn:
    """What ``DummyVecEnv.step_wait`` does: step every environment, reset those whose episode has ended."""
    for index in range(vec_env.num_envs):
        step_row(vec_env, index)
    return outputs(vec_env)


def step_row(vec_env: DummyVecEnv, index: int) -> None:
    """Step one environment, and reset it if its episode has ended; the buffers have what came of it."""
    env = vec_env.envs[index]
    obs, reward, terminated, truncated, info = env.step(vec_env.actions[index])
    done = terminated or truncated
    info["TimeLimit.truncated"] = truncated and not terminated
    if done:
        info["terminal_observation"] = obs
        obs, vec_env.reset_infos[index] = env.reset()
    vec_env.buf_rews[index], vec_env.buf_dones[index], vec_env.buf_infos[index] = reward, done, info
    vec_env._save_obs(index, obs)


def outputs(vec_env: DummyVecEnv) -> VecEnvStepReturn:
    """Copies of what is in the buffers."""
    observations = dict_to_obs(vec_env.observation_space, {key: array.copy() for key, array in vec_env.buf_obs.items()})
    infos = [_copied_info(info) for info in vec_env.buf_infos]
    return observations, vec_env.buf_rews.copy(), vec_env.buf_dones.copy(), infos


def _copied_info(info: dict[str, Any]) -> dict[str, Any]:
    return {key: copied(value) for key, value in info.items()} if type(info) is dict else deepcopy(info)


def copied(value: Any) -> Any:
    return value if type(value) in UNCHANGEABLE else deepcopy(value)
