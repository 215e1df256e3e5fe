"""Where a rollout is not finite: found before it can reach a parameter, and named so that it can be mended."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv
from torch.distributions import Distribution

from sb3_trpo.rollouts.running_statistics import running_statistics


@dataclass(frozen=True)
class Defect:
    """The first value of a rollout that is NaN or infinite.

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
        """A sentence on what may be behind it, where that is not plain; see :func:`predicted_values`."""
        bootstrapped = self.key == "rewards" and math.isnan(self.value)
        return " That is the reward, or the observation at which a time limit ended the episode." if bootstrapped else ""


def _arrays(buffer: RolloutBuffer) -> dict[str, np.ndarray]:
    """The buffer's floating-point arrays in the order of cause and effect: an observation spoils a value, not vice versa."""
    observations = buffer.observations
    arrays = (
        {f"observations[{key!r}]": array for key, array in observations.items()}
        if isinstance(observations, dict)
        else {"observations": observations}
    )
    for key in ("actions", "rewards", "log_probs", "values", "advantages", "returns"):
        arrays[key] = getattr(buffer, key)
    return {key: array for key, array in arrays.items() if np.issubdtype(array.dtype, np.floating)}


def predicted_values(policy: ActorCriticPolicy, observations: PyTorchObs) -> th.Tensor:
    """V of observations that are in no buffer, ``[n, 1]``: NaN where one is not finite, which a bounded activation would hide.

    :param policy: has a critic
    :param observations: ``[n, …]``
    """
    values = policy.predict_values(observations)
    for part in observations.values() if isinstance(observations, dict) else (observations,):
        if part.is_floating_point():
            values = values.where(th.isfinite(part).flatten(1).all(dim=1, keepdim=True), math.nan)
    return values


def find_defect(buffer: RolloutBuffer) -> Defect | None:
    """The first non-finite value of a full buffer, or None.

    :param buffer: full; SB3 flattens everything but the rewards, env by env, when it is first read from
    """
    for key, array in _arrays(buffer).items():
        if np.isfinite(array).all():
            continue
        if buffer.generator_ready and key != "rewards":
            rows = np.asarray(array).reshape(buffer.n_envs, buffer.buffer_size, -1).swapaxes(0, 1)
        else:
            rows = np.asarray(array).reshape(buffer.buffer_size, buffer.n_envs, -1)
        step, env, column = np.argwhere(~np.isfinite(rows))[0]
        return Defect(key, float(rows[step, env, column]), int(step), int(env))
    return None


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


@contextmanager
def unchecked_distributions() -> Iterator[None]:
    """PyTorch's check of distribution parameters off for a while: NaN is to be judged with its context, not raised."""
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)
