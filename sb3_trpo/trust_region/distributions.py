"""Action distributions in their own parameters: KL divergence and Fisher matrix (paper, appendix C).

Parameters travel as one tensor of shape ``[B, P]``, a row a state. Every divergence is that of the *joint*
action distribution, summed over action dimensions, in nats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch as th
from torch.nn.functional import logsigmoid

Metric = Callable[[th.Tensor], th.Tensor]


class DistributionFamily(Protocol):
    """A family of action distributions with parameters φ of shape ``[B, P]``."""

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        """KL(π_old ‖ π_new) of each state.

        :param old: φ of π_old ``[B, P]``
        :param new: φ of π_new ``[B, P]``
        :return: nats ``[B]``
        """
        ...

    def fisher(self, parameters: th.Tensor) -> Metric:
        """The Fisher matrices M_s in φ, as a map.

        :param parameters: φ of each state s ``[B, P]``
        :return: v ↦ M_s v_s for each state, from and to ``[B, P]``
        """
        ...


def _excess(log_ratio: th.Tensor) -> th.Tensor:
    """exp(x) − 1 − x ≥ 0, without the cancellation that spoils small divergences in float32."""
    return th.expm1(log_ratio) - log_ratio


def _discrete_terms(old_log_prob: th.Tensor, new_log_prob: th.Tensor) -> th.Tensor:
    """p log(p/p') of each outcome, plus p' − p, which sums to zero: p (e^x − 1 − x) with x = log p'/p, never negative.

    Outcomes that gain much are written p' − p − p x, because e^x may overflow there, and impossible ones p'.
    """
    old, new, log_ratio = old_log_prob.exp(), new_log_prob.exp(), new_log_prob - old_log_prob
    terms = th.where(log_ratio > 1.0, new - old - old * log_ratio, old * _excess(log_ratio))
    return th.where(old > 0.0, terms, new)


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normals; φ = (mean, log σ), so P = 2d. Squashing by tanh changes neither KL nor Fisher matrix."""

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        """Σ_i ½(e^{2Δ_i} − 1 − 2Δ_i) + ½(μ_i − μ'_i)²/σ'_i², with Δ = log σ − log σ' and a prime for the new."""
        (old_mean, old_log_std), (new_mean, new_log_std) = old.chunk(2, dim=1), new.chunk(2, dim=1)
        shift = (old_mean - new_mean) * th.exp(-new_log_std)
        return 0.5 * (_excess(2.0 * (old_log_std - new_log_std)) + shift**2).sum(dim=1)

    def fisher(self, parameters: th.Tensor) -> Metric:
        """M = diag(1/σ², 2)."""
        log_std = parameters.chunk(2, dim=1)[1]
        diagonal = th.cat([th.exp(-2.0 * log_std), th.full_like(log_std, 2.0)], dim=1)
        return lambda vector: diagonal * vector


@dataclass(frozen=True)
class Categorical:
    """Independent categoricals; φ = their logits side by side, so P = Σ sizes.

    :param sizes: number of categories of each action dimension
    """

    sizes: Sequence[int]

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        """Σ_i p_i log(p_i/p'_i), over all blocks."""
        divergence = old.new_zeros(len(old))
        for old_logits, new_logits in zip(old.split(self.sizes, dim=1), new.split(self.sizes, dim=1), strict=True):
            divergence = divergence + _discrete_terms(old_logits.log_softmax(dim=1), new_logits.log_softmax(dim=1)).sum(dim=1)
        return divergence

    def fisher(self, parameters: th.Tensor) -> Metric:
        """M = diag(p) − p pᵀ in each block."""
        probs = [logits.softmax(dim=1) for logits in parameters.split(self.sizes, dim=1)]

        def metric(vector: th.Tensor) -> th.Tensor:
            tangents = zip(probs, vector.split(self.sizes, dim=1), strict=True)
            return th.cat([prob * (part - (prob * part).sum(dim=1, keepdim=True)) for prob, part in tangents], dim=1)

        return metric


@dataclass(frozen=True)
class Bernoulli:
    """Independent coins; φ = logits, so P = number of bits."""

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        """Σ_i p_i log(p_i/p'_i) + (1 − p_i) log((1 − p_i)/(1 − p'_i))."""
        heads = _discrete_terms(logsigmoid(old), logsigmoid(new))
        tails = _discrete_terms(logsigmoid(-old), logsigmoid(-new))
        return (heads + tails).sum(dim=1)

    def fisher(self, parameters: th.Tensor) -> Metric:
        """M = diag(p(1 − p))."""
        prob = parameters.sigmoid()
        diagonal = prob * (1.0 - prob)
        return lambda vector: diagonal * vector


@dataclass(frozen=True)
class Beta:
    """Independent betas with densities ∝ x^(a−1) (1−x)^(b−1); φ = (log a, log b), so P = 2d."""

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        """Σ_i A(a', b') − A(a, b) − (a' − a, b' − b) · ∇A(a, b), A = log B: how far A is above its tangent.

        In double precision, because the terms are large and their sum is small.
        """
        (a, b), (new_a, new_b) = (parameters.double().exp().chunk(2, dim=1) for parameters in (old, new))
        total, new_total = a + b, new_a + new_b
        rise = th.lgamma(new_a) + th.lgamma(new_b) - th.lgamma(new_total)
        rise = rise - th.lgamma(a) - th.lgamma(b) + th.lgamma(total)
        slope = (new_a - a) * th.digamma(a) + (new_b - b) * th.digamma(b) - (new_total - total) * th.digamma(total)
        return (rise - slope).clamp(min=0.0).sum(dim=1).to(old.dtype)

    def fisher(self, parameters: th.Tensor) -> Metric:
        """M = D (diag(ψ₁(a), ψ₁(b)) − ψ₁(a + b) 1 1ᵀ) D for each action, with D = diag(a, b) and ψ₁ the trigamma function."""
        a, b = parameters.exp().chunk(2, dim=1)
        of_a, of_b, of_total = (th.polygamma(1, value) for value in (a, b, a + b))

        def metric(vector: th.Tensor) -> th.Tensor:
            along_a, along_b = vector.chunk(2, dim=1)
            along_a, along_b = a * along_a, b * along_b
            shared = of_total * (along_a + along_b)
            return th.cat([a * (of_a * along_a - shared), b * (of_b * along_b - shared)], dim=1)

        return metric
