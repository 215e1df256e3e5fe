"""Layers that find their sizes when they first run, as PyTorch's ``nn.LazyLinear`` does."""

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.nn.parameter import is_lazy

from sb3_trpo.policy.observations import zeros


def find_sizes(policy: ActorCriticPolicy) -> None:
    """Extract a policy's features once, from observations of zeros, if it has parameters that are not there yet."""
    if any(map(is_lazy, policy.parameters())):
        policy.set_training_mode(False)
        with th.no_grad():
            policy.extract_features(zeros(policy))
