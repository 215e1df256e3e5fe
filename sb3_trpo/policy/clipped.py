"""The distribution of the actions that an environment gets: a Gaussian policy's, clipped to the bounds of the space."""

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.special import log_ndtr


class ClippedGaussianDistribution(DiagGaussianDistribution):
    """Independent normals whose draws are clipped on their way to the environment (Fujita and Maeda 2018, CAPG).

    Draws, mode and entropy are the normals'. The probability of a draw is that of the action that comes of it: beyond a bound,
    of all that is clipped to the bound.

    :param space: of the actions
    """

    def __init__(self, space: spaces.Box):
        super().__init__(int(np.prod(space.shape)))
        self.low, self.high = (th.as_tensor(bound).flatten().float() for bound in (space.low, space.high))

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """
        :param actions: draws, clipped or not ``[B, d]``
        :return: log-probability at the bounds, log-density between them, summed over action dimensions ``[B]``, nats
        """
        mean, std = self.distribution.mean, self.distribution.stddev
        low, high = self.low.to(mean), self.high.to(mean)
        density = self.distribution.log_prob(actions.clamp(low, high))
        below, above = log_ndtr((low - mean) / std), log_ndtr((mean - high) / std)
        return th.where(actions <= low, below, th.where(actions >= high, above, density)).sum(dim=1)


def clip_distribution(policy: ActorCriticPolicy) -> None:
    """Let a policy's actions count as what they are clipped to.

    :param policy: new
    :raises ValueError: if its actions are not independent normals as SB3 makes them
    """
    if type(policy.action_dist) is not DiagGaussianDistribution:
        raise ValueError(
            "clipped_actions=True needs SB3's DiagGaussianDistribution, which policies with Box actions have without use_sde; "
            f"this {type(policy).__name__} has a {type(policy.action_dist).__name__}: leave clipped_actions out."
        )
    assert isinstance(policy.action_space, spaces.Box)
    policy.action_dist = ClippedGaussianDistribution(policy.action_space)
