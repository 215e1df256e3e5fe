"""Fisher-vector products, analytic over actions (paper, section 6 and appendix C)."""

from collections.abc import Callable, Sequence

import torch as th

from sb3_trpo.trust_region.distributions import DistributionFamily
from sb3_trpo.trust_region.linearization import Linearization

VectorProduct = Callable[[th.Tensor], th.Tensor]


def fisher_vector_product(
    chunks: Sequence[Callable[[], Linearization]], family: DistributionFamily, damping: float
) -> VectorProduct:
    """The map v ↦ (F + λI) v with F = (1/B) Σ_s J_sᵀ M_s J_s and λ the damping.

    J_s is the Jacobian of state s's distribution parameters with respect to θ and M_s their Fisher matrix, so no
    action is sampled and no second derivative of the network is needed. The states come in chunks. A single chunk is
    linearised once; several are linearised anew in every product, each freed before the next, so that memory is
    that of one chunk however many states there are.

    :param chunks: functions that linearise the network at θ₀ for some of the states
    :param family: the distribution's Fisher matrix in its own parameters
    :param damping: λ ≥ 0
    :return: a function of a flat vector ``[N]`` that returns another
    """
    kept = [chunks[0]()] if len(chunks) == 1 else None

    def product(vector: th.Tensor) -> th.Tensor:
        total, states = th.zeros_like(vector), 0
        for chunk in kept or (linearise() for linearise in chunks):
            total += chunk.vjp(family.fisher(chunk.at, chunk.jvp(vector)))
            states += len(chunk.at)
        return total.div_(states).add_(vector, alpha=damping)

    return product
