"""Actions as the environment gets them: a Gaussian policy's draws clipped to the bounds (Fujita and Maeda 2018, CAPG).

The distribution, its KL divergence and its Fisher matrix, made known to TRPO as users make theirs known.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from torch.special import log_ndtr, ndtr

from sb3_trpo.policy import register_distribution
from sb3_trpo.policy.distributions import Gaussians
from sb3_trpo.trust_region.distributions import Metric

FAR = 1e4  # in standard deviations: a bound farther away than this counts as so far


@dataclass(frozen=True)
class _Bounds:
    """An interval as its normals see it: α = (low − μ)/σ, β = (high − μ)/σ, all ``[B, d]``."""

    mean: th.Tensor
    log_std: th.Tensor
    alpha: th.Tensor
    beta: th.Tensor

    @property
    def inside(self) -> list[th.Tensor]:
        """∫ zᵏ φ(z) dz from α to β, for k from 0 to 4."""
        at_alpha, at_beta = _density(self.alpha), _density(self.beta)
        # Far out on one side, the difference of two numbers near 1 would have no digits left
        above = self.alpha > 0.0
        moments = [th.where(above, ndtr(-self.alpha) - ndtr(-self.beta), ndtr(self.beta) - ndtr(self.alpha))]
        moments.append(at_alpha - at_beta)
        for k in (2, 3, 4):
            edge = self.alpha ** (k - 1) * at_alpha - self.beta ** (k - 1) * at_beta
            moments.append((k - 1) * moments[k - 2] + edge)
        return moments


def _density(z: th.Tensor) -> th.Tensor:
    return th.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class ClippedGaussian:
    """Independent normals, each clipped to an interval; φ = (mean, log σ) of the normals, so P = 2d.

    What lies beyond a bound is one outcome, the bound itself, with the probability of all that was clipped to it. So the
    divergence is at most that of the normals, and 0 where all of both lies beyond one bound. In double precision, because
    its terms are large and their sum is small.

    :param low: lower bounds ``[d]``
    :param high: upper bounds ``[d]``
    """

    low: th.Tensor
    high: th.Tensor

    def _bounds(self, parameters: th.Tensor) -> _Bounds:
        mean, log_std = parameters.double().chunk(2, dim=1)
        alpha, beta = (((bound.to(mean) - mean) * th.exp(-log_std)).clamp(-FAR, FAR) for bound in (self.low, self.high))
        return _Bounds(mean, log_std, alpha, beta)

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        """Σ_i Φ(α) log(Φ(α)/Φ(α')) + Φ(−β) log(Φ(−β)/Φ(−β')) + ∫_α^β φ(z) log(p/p') dz, with a prime for the new.

        Inside the interval, log(p/p') = log σ' − log σ − ½z² + ½(σz + μ − μ')²/σ'².
        """
        p, q = self._bounds(old), self._bounds(new)
        mass, first, second, *_ = p.inside
        scale, shift = th.exp(p.log_std - q.log_std), (p.mean - q.mean) * th.exp(-q.log_std)
        inside = (
            (q.log_std - p.log_std) * mass + 0.5 * (scale**2 - 1.0) * second + scale * shift * first + 0.5 * shift**2 * mass
        )
        below = ndtr(p.alpha) * (log_ndtr(p.alpha) - log_ndtr(q.alpha))
        above = ndtr(-p.beta) * (log_ndtr(-p.beta) - log_ndtr(-q.beta))
        return (inside + below + above).clamp(min=0.0).sum(dim=1).to(old.dtype)

    def fisher(self, parameters: th.Tensor) -> Metric:
        """M = E[s sᵀ] for each action: s = (z/σ, z² − 1) inside, the slope of log Φ(α) or log Φ(−β) at a bound.

        With h = φ(α)²/Φ(α), the lower bound adds h (1/σ, α)(1/σ, α)ᵀ, and the upper one likewise.
        """
        at = self._bounds(parameters)
        mass, first, second, third, fourth = at.inside
        below, above = (
            th.exp(-(z**2) - math.log(2.0 * math.pi) - log_ndtr(side * z)) for z, side in ((at.alpha, 1.0), (at.beta, -1.0))
        )
        precision = th.exp(-at.log_std)
        of_mean = precision**2 * (second + below + above)
        of_both = precision * (third - first + at.alpha * below + at.beta * above)
        of_log_std = fourth - 2.0 * second + mass + at.alpha**2 * below + at.beta**2 * above
        of_mean, of_both, of_log_std = (part.to(parameters.dtype) for part in (of_mean, of_both, of_log_std))

        def metric(vector: th.Tensor) -> th.Tensor:
            mean, log_std = vector.chunk(2, dim=1)
            return th.cat([of_mean * mean + of_both * log_std, of_both * mean + of_log_std * log_std], dim=1)

        return metric


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


class ClippedGaussians(Gaussians):
    """What TRPO has to know of it."""

    def __init__(self, distribution: ClippedGaussianDistribution):
        super().__init__(distribution)
        self.family = ClippedGaussian(distribution.low, distribution.high)  # type: ignore[assignment]


register_distribution(ClippedGaussianDistribution, ClippedGaussians)
