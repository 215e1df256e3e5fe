"""What a rollout buffer of SB3's does, and how its actions are stored."""

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from sb3_trpo.policy import overrides

_METHODS = ("add", "get", "_get_samples", "to_torch")


def is_stock_buffer(buffer: RolloutBuffer) -> bool:
    """Whether the buffer is written to and read from as SB3 does it."""
    base = DictRolloutBuffer if isinstance(buffer, DictRolloutBuffer) else RolloutBuffer
    return not overrides(buffer, base, _METHODS)


def as_drawn(actions: th.Tensor, action_space: spaces.Space) -> th.Tensor:
    """A buffer's actions ``[B, d]`` as the distribution's ``log_prob`` takes them: ``[B]`` integers, or floats."""
    return actions.long().flatten() if isinstance(action_space, spaces.Discrete) else actions.float()


def keep_as_drawn(buffer: RolloutBuffer) -> None:
    """Let an empty buffer keep the actions of a ``Box`` as they are drawn.

    SB3's has the space's type, which rounds them if it is one of whole numbers or of half precision.
    """
    if isinstance(buffer.action_space, spaces.Box) and buffer.actions.dtype not in (np.float32, np.float64):
        buffer.actions = buffer.actions.astype(np.float32)


def check_rollout_length(n_steps: int, buffer: RolloutBuffer) -> None:
    """Refuse a rollout that leaves some of the buffer unfilled, or does not fit into it.

    :raises ValueError: if the model's ``n_steps`` was changed
    """
    if n_steps != buffer.buffer_size:
        raise ValueError(
            f"n_steps={n_steps}, but the rollout buffer was made for {buffer.buffer_size} steps of each environment: save the "
            f"model and load it with TRPO.load(path, env, n_steps={n_steps})."
        )
