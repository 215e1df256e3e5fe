"""Products with the Fisher matrix, analytic over actions (paper, section 6 and appendix C)."""

from collections.abc import Callable, Iterator, Sequence

import torch as th

from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.trust_region.distributions import DistributionFamily, Metric
from sb3_trpo.trust_region.linearization import Linearization


class FisherMatrix:
    """F + λI with F = (1/B) Σ_s J_sᵀ M_s J_s and λ the damping, given by its products.

    J_s is the Jacobian of state s's distribution parameters with respect to θ and M_s their Fisher matrix, so no
    action is sampled and no second derivative of the network is needed. The states come in chunks. A single chunk is
    linearised once; several are linearised anew in every product, each freed before the next, so that memory is
    that of one chunk however many states there are.

    :param chunks: functions that linearise the network at θ₀ for some of the states
    :param family: the distribution's Fisher matrix in its own parameters
    :param damping: λ ≥ 0
    :param ranks: processes that hold further states, as many each
    """

    def __init__(
        self,
        chunks: Sequence[Callable[[], Linearization]],
        family: DistributionFamily,
        damping: float,
        ranks: Ranks = ALONE,
    ):
        self.family, self.damping, self.ranks = family, damping, ranks
        self._chunks = chunks
        self._kept = self._with_metric(chunks[0]()) if len(chunks) == 1 else None

    def _with_metric(self, chunk: Linearization) -> tuple[Linearization, Metric]:
        return chunk, self.family.fisher(chunk.at.detach())

    def _parts(self) -> Iterator[tuple[Linearization, Metric]]:
        if self._kept is not None:
            yield self._kept
        else:
            yield from (self._with_metric(linearise()) for linearise in self._chunks)

    def product(self, vector: th.Tensor) -> th.Tensor:
        """(F + λI) v.

        :param vector: v ``[N]``
        :return: ``[N]``
        """
        total, states = th.zeros_like(vector), 0
        for chunk, metric in self._parts():
            total += chunk.vjp(metric(chunk.jvp(vector)))
            states += len(chunk.at)
        return self.ranks.mean(total.div_(states)).add_(vector, alpha=self.damping)

    def quadratic_form(self, vector: th.Tensor) -> float:
        """vᵀ(F + λI)v at half the price of a product: (1/B) Σ_s (J_s v)ᵀ M_s (J_s v) + λ vᵀv.

        :param vector: v ``[N]``
        :return: for F alone, twice the KL divergence of a small step v, nats
        """
        total, states = 0.0, 0
        for chunk, metric in self._parts():
            tangent = chunk.jvp(vector)
            total += float((tangent * metric(tangent)).sum())
            states += len(chunk.at)
        of_fisher = self.ranks.mean(th.tensor(total / states, dtype=th.float64))
        return float(of_fisher) + self.damping * float(vector @ vector)
