"""Layers that find their sizes when they first run, as PyTorch's ``nn.LazyLinear`` does."""

import numpy as np
import torch as th
from gymnasium.vector.utils import create_empty_array
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor
from torch.nn.parameter import is_lazy


def find_sizes(policy: ActorCriticPolicy) -> None:
    """Extract a policy's features once, from observations of zeros, if it has parameters that are not there yet."""
    if any(map(is_lazy, policy.parameters())):
        policy.set_training_mode(False)
        with th.no_grad():
            policy.extract_features(zeros(policy))


def zeros(policy: ActorCriticPolicy) -> th.Tensor | dict[str, th.Tensor]:
    """Two observations of nothing but zeros, where the policy takes them."""
    return obs_as_tensor(create_empty_array(policy.observation_space, n=2, fn=np.zeros), policy.device)  # type: ignore[arg-type]
