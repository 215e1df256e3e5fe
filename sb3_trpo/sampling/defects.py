"""Where a rollout is not finite: found before it can reach a parameter, and named so that it can be mended."""

import math
from dataclasses import dataclass
from traceback import walk_tb
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.observation_parts import parts_of
from sb3_trpo.policy import PolicyInput, distribution_of, observations_of, select, values_of
from sb3_trpo.vec_env.statistics import running_statistics


@dataclass(frozen=True)
class Defect:
    """The first value of a rollout that is NaN or infinite, or the largest reward where advantages overflow.

    :param key: what it is: ``observations``, ``observations['pixels']``, ``rewards``, …
    :param value: the value itself
    :param step: step of the rollout, from 0
    :param env: index of the environment
    """

    key: str
    value: float
    step: int
    env: int

    def __str__(self) -> str:
        return f"{self.key} is {self.value} at step {self.step} of the rollout in environment {self.env}"

    @property
    def cause(self) -> str:
        """A sentence on what may be behind it, where that is not plain; see ``predicted_values``."""
        if math.isfinite(self.value):
            return " It is the largest, and the standard deviation of the advantages overflows: scale rewards down."
        if self.key in ("actions", "log_probs"):
            return " That is the policy's: its deviation (log_std_init), or what its network gives, is too large."
        bootstrapped = self.key == "rewards" and math.isnan(self.value)
        return " That is the reward, or the observation at which a time limit ended the episode." if bootstrapped else ""


def _named(observations: Any) -> dict[str, np.ndarray]:
    """An array of observations, or the arrays of each of their parts, by how it is called in a message."""
    if isinstance(observations, dict):
        return {f"observations[{key!r}]": array for key, array in observations.items()}
    return {"observations": observations}


def _arrays(buffer: RolloutBuffer) -> dict[str, np.ndarray]:
    """The buffer's floating-point arrays in the order of cause and effect: an observation spoils a value, not vice versa."""
    arrays = _named(buffer.observations)
    for key in ("actions", "rewards", "log_probs", "values", "advantages", "returns"):
        arrays[key] = getattr(buffer, key)
    return {key: array for key, array in arrays.items() if np.issubdtype(array.dtype, np.floating)}


def predicted_values(policy: ActorCriticPolicy, states: PolicyInput) -> th.Tensor:
    """V of states that are in no buffer, ``[n, 1]``: NaN where an observation is not finite, which a bounded
    activation would hide.

    :param policy: has a critic
    :param states: n of them
    """
    values, observations = values_of(policy, states).reshape(-1, 1), observations_of(states)
    for part in parts_of(observations):
        if part.is_floating_point():
            values = values.where(th.isfinite(part).reshape(len(part), -1).all(dim=1, keepdim=True), math.nan)
    return values


def find_defect(buffer: RolloutBuffer, last_observations: Any = None) -> Defect | None:
    """The first non-finite value of a full buffer, or None.

    :param buffer: full; SB3 flattens everything but the rewards, env by env, when it is first read from
    :param last_observations: after its last step, ``[n_envs, …]``: their values are a part of the advantages
    """
    for key, array in _arrays(buffer).items():
        if np.isfinite(array).all():
            continue
        if buffer.generator_ready and key != "rewards":
            rows = np.asarray(array).reshape(buffer.n_envs, buffer.buffer_size, -1).swapaxes(0, 1)
        else:
            rows = np.asarray(array).reshape(buffer.buffer_size, buffer.n_envs, -1)
        after_all = _defect_of_last(last_observations, buffer.buffer_size) if key == "advantages" else None
        if after_all is not None:
            return after_all
        step, env, column = np.argwhere(~np.isfinite(rows))[0]
        return Defect(key, float(rows[step, env, column]), int(step), int(env))
    return None


def _defect_of_last(observations: Any, step: int) -> Defect | None:
    for key, array in _named(observations).items() if observations is not None else ():
        rows = np.asarray(array).reshape(len(array), -1)
        if np.issubdtype(rows.dtype, np.floating) and not np.isfinite(rows).all():
            env, column = np.argwhere(~np.isfinite(rows))[0]
            return Defect(key, float(rows[env, column]), step, int(env))
    return None


def largest_reward(buffer: RolloutBuffer) -> Defect:
    """The reward that is farthest from zero.

    :param buffer: full
    """
    step, env = np.unravel_index(np.abs(buffer.rewards).argmax(), buffer.rewards.shape)
    return Defect("rewards", float(buffer.rewards[step, env]), int(step), int(env))


def check_running_statistics(env: VecEnv | None) -> None:
    """Refuse to go on with normalisation statistics that are NaN or infinite: they never recover.

    :param env: the training environments with their wrappers
    :raises ValueError: naming the wrapper, the statistic, and what to do
    """
    for wrapper, where, statistics in running_statistics(env):
        unused = {"obs_rms": not getattr(wrapper, "norm_obs", True), "ret_rms": not getattr(wrapper, "norm_reward", True)}
        if unused.get(where.partition("[")[0], False):
            continue
        if not (np.isfinite(statistics.mean).all() and np.isfinite(statistics.var).all()):
            raise ValueError(
                f"The running statistics {type(wrapper).__name__}.{where} are no longer finite, so every value they "
                "normalise from now on is NaN. An observation or reward was NaN or infinite before it was "
                "normalised: mend the environment (stable_baselines3.common.vec_env.VecCheckNan finds the step), "
                "and go on from statistics saved earlier (VecNormalize.load)."
            )


def is_parameter_check(error: ValueError) -> bool:
    """Whether it is PyTorch that refuses a distribution's parameters, NaN as a rule, and not code of the user's.

    :param error: with its traceback
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__")).startswith("torch.distributions")


def log_probs_or_nan(policy: ActorCriticPolicy, states: PolicyInput, actions: th.Tensor) -> th.Tensor:
    """log π(a|s) ``[n]``: NaN in states where the network's outputs are no distribution's parameters.

    :param policy: whose log-probabilities are asked for
    :param states: n of them
    :param actions: as the distribution's ``log_prob`` takes them
    """
    try:
        return distribution_of(policy, states).log_prob(actions)
    except ValueError as error:
        if not is_parameter_check(error):
            raise
        if len(actions) == 1:
            return th.full((1,), math.nan, device=policy.device)
    rows = [slice(row, row + 1) for row in range(len(actions))]
    return th.cat([log_probs_or_nan(policy, select(states, row), actions[row]) for row in rows])
