"""VecNormalize in less time, with the same results bit for bit.

For a few environments NumPy's functions cost many times the arithmetic: ``mean``, ``var``, ``clip`` and the deep copies are
written here as the operations they come down to, in the same order, so that every bit is the same.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

_METHODS = ("step", "step_async", "step_wait", "_update_reward", "normalize_obs", "_normalize_obs", "normalize_reward")


def is_stock(wrapper: Any) -> bool:
    """Whether this is SB3's VecNormalize, with statistics of SB3's, of floating-point vectors: what is written out here."""
    if type(wrapper) is not VecNormalize or any(name in vars(wrapper) for name in _METHODS):
        return False
    if not wrapper.norm_obs:
        return type(wrapper.ret_rms) is RunningMeanStd
    space = wrapper.venv.observation_space
    return type(wrapper.obs_rms) is type(wrapper.ret_rms) is RunningMeanStd and space.dtype in (np.float32, np.float64)


def quick_step(env: VecEnv) -> Callable[[np.ndarray], VecEnvStepReturn]:
    """What ``env.step`` does, by a shorter way if the outermost wrapper is a stock VecNormalize.

    :param env: the environments with their wrappers
    """
    if not is_stock(env):
        return env.step

    def step(actions: np.ndarray) -> VecEnvStepReturn:
        env.step_async(actions)
        return step_wait(env)  # type: ignore[arg-type]

    return step


def step_wait(wrapper: VecNormalize) -> VecEnvStepReturn:
    """What ``VecNormalize.step_wait`` does."""
    obs, rewards, dones, infos = wrapper.venv.step_wait()
    wrapper.old_obs, wrapper.old_reward = obs, rewards  # type: ignore[assignment]
    if wrapper.norm_obs:
        if wrapper.training:
            _update(wrapper.obs_rms, obs)  # type: ignore[arg-type]
        obs = _scaled(obs, wrapper.obs_rms, wrapper)
    else:
        obs = wrapper.normalize_obs(obs)  # type: ignore[assignment, arg-type]
    if wrapper.training:
        wrapper.returns = wrapper.returns * wrapper.gamma
        wrapper.returns += rewards
        _update_scalar(wrapper.ret_rms, wrapper.returns)
    if wrapper.norm_reward:
        rewards = rewards / np.float64(sqrt(float(wrapper.ret_rms.var) + wrapper.epsilon))
        rewards = _clipped(rewards, wrapper.clip_reward)
    rewards = rewards.astype(np.float32)
    if True in dones.tolist():
        for row in dones.nonzero()[0].tolist():
            if "terminal_observation" in infos[row]:
                infos[row]["terminal_observation"] = wrapper.normalize_obs(infos[row]["terminal_observation"])
        wrapper.returns[dones] = 0
    return obs, rewards, dones, infos


def _clipped(array: np.ndarray, bound: float) -> np.ndarray:
    return np.minimum(np.maximum(array, -bound, out=array), bound, out=array)


def _scaled(obs: Any, statistics: Any, wrapper: VecNormalize) -> np.ndarray:
    deviation = statistics.var + wrapper.epsilon
    scaled = obs - statistics.mean
    scaled /= np.sqrt(deviation, out=deviation)
    return _clipped(scaled, wrapper.clip_obs).astype(np.float32)


def _update(statistics: Any, array: Any) -> None:
    """``RunningMeanStd.update``: of a single row the variance is zero, and factors of one change nothing."""
    count, before = len(array), statistics.count
    total = before + count
    squares = statistics.var * before
    if count == 1:
        delta = array[0] - statistics.mean
        second = delta * delta
        second *= before
    else:
        mean = np.add.reduce(array, axis=0)
        mean /= count
        deviations = array - mean
        deviations *= deviations
        spread = np.add.reduce(deviations, axis=0)
        spread /= count
        squares += spread * count
        delta = mean - statistics.mean
        second = delta * delta
        second *= before
        second *= count
        delta *= count
    second /= total
    squares += second
    squares /= total
    delta /= total
    delta += statistics.mean
    statistics.mean, statistics.var, statistics.count = delta, squares, total


def _update_scalar(statistics: Any, array: np.ndarray) -> None:
    """The same for a number, in Python's arithmetic, which is NumPy's for a tenth of the time."""
    count, before = len(array), statistics.count
    total, mean, variance, spread = before + count, float(statistics.mean), float(statistics.var), 0.0
    if count == 1:
        batch_mean = float(array[0])
    else:
        batch_mean = float(np.add.reduce(array)) / count
        deviations = array - batch_mean
        deviations *= deviations
        spread = float(np.add.reduce(deviations)) / count * count
    delta = batch_mean - mean
    statistics.mean = np.float64(mean + delta * count / total)
    statistics.var = np.float64((variance * before + spread + delta * delta * before * count / total) / total)
    statistics.count = total
