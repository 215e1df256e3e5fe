"""Theorem 1 of the paper as a diagnostic: how far the update is from being guaranteed to improve the policy."""

from dataclasses import dataclass

import torch as th

from sb3_trpo.checks import check_real
from sb3_trpo.ranks import ALONE, Ranks


@dataclass(frozen=True)
class ImprovementBound:
    """The terms of η(θ) − η(θ₀) ≥ [L(θ) − L(θ₀)]/(1−γ) − C max_s KL, C = 4εγ/(1−γ)².

    :param epsilon: ε = ``max |A|``, reward units
    :param penalty: C, reward units a nat
    :param lower: the right-hand side, reward units
    """

    epsilon: float
    penalty: float
    lower: float


def improvement_bound(
    ratio: th.Tensor,
    advantages: th.Tensor,
    kl_max: float,
    gamma: float,
    ranks: Ranks = ALONE,
) -> ImprovementBound:
    """Theorem 1 with sample maxima in place of the true ones, which they under-estimate: no guarantee.

    :param ratio: π_θ(a|s)/π_θ₀(a|s) ``[B]``
    :param advantages: unnormalised advantages ``[B]``, reward units
    :param kl_max: largest KL(π_θ₀ ‖ π_θ) over the states, nats
    :param gamma: discount factor in [0, 1); the bound does not exist at 1
    :param ranks: processes that hold further samples, as many each
    :return: its terms
    :raises ValueError: if ``gamma`` is out of range
    """
    check_real("gamma", gamma, 0.0, True, 1.0, False)
    epsilon = float(ranks.maximum(advantages.abs().max()))
    penalty = 4.0 * epsilon * gamma / (1.0 - gamma) ** 2
    gain = float(ranks.mean(((ratio - 1.0) * advantages).mean())) / (1.0 - gamma)
    return ImprovementBound(epsilon, penalty, gain - penalty * kl_max)
