"""A finished rollout as tensors, without copying the observations."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import PolicyInput
from sb3_trpo.sampling.buffers import as_drawn, is_stock_buffer
from sb3_trpo.sampling.frame_stacks import FrameStacks, FrameTensors


@dataclass(frozen=True)
class Samples:
    """The B = n_steps · n_envs samples of a rollout, in no particular order.

    :param observations: ``[B, …]``, or a dict of such; images stay as bytes. Or what ``select`` makes such of, or states that
        are more than these
    :param actions: ``[B, …]`` as the distribution's ``log_prob`` takes them
    :param log_probs: log π_θ₀(a|s) ``[B]``, nats
    :param advantages: Â ``[B]``, reward units
    :param returns: regression targets of the critic ``[B]``, reward units
    """

    observations: PolicyInput
    actions: th.Tensor
    log_probs: th.Tensor
    advantages: th.Tensor
    returns: th.Tensor

    def __len__(self) -> int:
        return len(self.log_probs)

    @classmethod
    def from_buffer(cls, buffer: RolloutBuffer) -> "Samples":
        """All of a full buffer. SB3's own buffers are viewed in place; one with methods of its own is asked.

        :param buffer: full; nothing but the buffer is read
        :raises ValueError: if it is not full
        """
        if not buffer.full:
            raise ValueError(
                f"The rollout buffer has {buffer.pos} of its {buffer.buffer_size} steps: an update needs a whole rollout, as "
                "learn() and collect_rollouts() gather it."
            )
        if not is_stock_buffer(buffer):
            data = next(iter(buffer.get(batch_size=None)))
            scalars = (data.old_log_prob, data.advantages, data.returns)
            return cls(data.observations, as_drawn(data.actions, buffer.action_space), *(x.flatten() for x in scalars))
        arrays = (buffer.log_probs, buffer.advantages, buffer.returns)
        actions = as_drawn(_tensor(buffer, buffer.actions), buffer.action_space)
        return cls(stored_observations(buffer), actions, *(_tensor(buffer, array).flatten() for array in arrays))


def stored_observations(buffer: RolloutBuffer) -> Any:
    """Observations ``[B, …]``, or a dict of such, in the buffer's order; of steps that are not there yet, anything.

    :param buffer: one of SB3's own, or of stacked frames
    """
    if isinstance(buffer.observations, FrameStacks):
        stacks = buffer.observations
        return FrameTensors(stacks if buffer.generator_ready else stacks.rows(), buffer.device)
    return map_parts(partial(_tensor, buffer), buffer.observations)


def _tensor(buffer: RolloutBuffer, array: np.ndarray) -> th.Tensor:
    """An array of a buffer as ``[B, …]``."""
    return single_precision(array if buffer.generator_ready else array.reshape(-1, *array.shape[2:]), buffer.device)


def single_precision(array: np.ndarray, device: th.device | str) -> th.Tensor:
    """An array as a tensor, in single precision if it was in double."""
    return th.as_tensor(array.astype(np.float32) if array.dtype == np.float64 else array, device=device)
