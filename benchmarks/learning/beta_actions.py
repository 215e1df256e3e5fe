"""Actions drawn from Beta distributions on the box, which has no need of clipping (Chou et al. 2017)."""

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from torch.distributions import Beta


class BetaDistribution(DiagGaussianDistribution):
    """Beta(1 + mν, 1 + (1 − m)ν) for each component, stretched over the box: m = sigmoid(2u) is its mode and ν = 1/σ² its
    concentration, of the outputs u and the parameter log σ that a Gaussian policy has. At u = 0, u moves the mode of an action
    in [−1, 1] as it moves a Gaussian's mean.

    :param space: of the actions
    """

    def __init__(self, space: spaces.Box):
        super().__init__(int(np.prod(space.shape)))
        self.low = th.as_tensor(space.low).flatten()
        self.width = th.as_tensor(space.high).flatten() - self.low

    def proba_distribution(self, mean_actions: th.Tensor, log_std: th.Tensor) -> "BetaDistribution":  # type: ignore[override]
        self.place, concentration = th.sigmoid(2.0 * mean_actions), th.exp(-2.0 * log_std)
        self.distribution = Beta(1.0 + self.place * concentration, 1.0 + (1.0 - self.place) * concentration)  # type: ignore[assignment]
        return self

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        inside = ((actions - self.low) / self.width).clamp(1e-6, 1.0 - 1e-6)
        return (self.distribution.log_prob(inside) - self.width.log()).sum(dim=1)

    def entropy(self) -> th.Tensor:
        return (self.distribution.entropy() + self.width.log()).sum(dim=1)

    def sample(self) -> th.Tensor:
        return self.low + self.width * self.distribution.sample()

    def mode(self) -> th.Tensor:
        return self.low + self.width * self.place
