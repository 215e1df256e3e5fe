"""Independent truth for action distributions: every family of sb3_trpo beside its counterpart in torch.distributions."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch as th
from torch.distributions import Bernoulli, Beta, Categorical, Distribution, Independent, Normal, kl_divergence

from sb3_trpo import trust_region


@dataclass(frozen=True)
class Case:
    """A family, the width P of its parameters φ, and φ as independent factors whose product is the joint distribution."""

    family: trust_region.DistributionFamily
    width: int
    factors: Callable[[th.Tensor], list[Distribution]]

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        """torch's KL(old ‖ new) of the joint distribution ``[B]``: divergences of independent factors add up."""
        return sum(kl_divergence(p, q) for p, q in zip(self.factors(old), self.factors(new), strict=True))


def _gaussian(phi: th.Tensor) -> list[Distribution]:
    mean, log_std = phi.chunk(2, dim=1)
    return [Independent(Normal(mean, log_std.exp()), 1)]


def _beta(phi: th.Tensor) -> list[Distribution]:
    return [Independent(Beta(*phi.exp().chunk(2, dim=1)), 1)]


CASES = {
    "gaussian-1d": Case(trust_region.DiagonalGaussian(), 2, _gaussian),
    "gaussian-3d": Case(trust_region.DiagonalGaussian(), 6, _gaussian),
    "categorical": Case(trust_region.Categorical((5,)), 5, lambda phi: [Categorical(logits=phi)]),
    "multi-categorical": Case(
        trust_region.Categorical((3, 2, 4)), 9, lambda phi: [Categorical(logits=part) for part in phi.split((3, 2, 4), dim=1)]
    ),
    "bernoulli": Case(trust_region.Bernoulli(), 4, lambda phi: [Independent(Bernoulli(logits=phi), 1)]),
    "beta": Case(trust_region.Beta(), 6, _beta),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    """Each family in turn."""
    return CASES[request.param]
