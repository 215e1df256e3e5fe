"""The trust-region step: tensors and callables in, frozen results out. Knows neither SB3 nor gymnasium.

Read in this order: ``distributions`` (KL and Fisher matrix of an action distribution), ``linearization`` (Jacobian
products of the network), ``fisher`` (products with the Fisher matrix), ``conjugate_gradient`` (the search direction),
``line_search`` (step size and backtracking), ``estimators`` (the vine's), ``bound`` (Theorem 1). ``status`` says why each
of them ended. A batch may be spread over
several processes: :mod:`sb3_trpo.ranks`.
"""

from sb3_trpo.trust_region.bound import ImprovementBound, improvement_bound
from sb3_trpo.trust_region.conjugate_gradient import Solution, conjugate_gradient
from sb3_trpo.trust_region.distributions import Bernoulli, Beta, Categorical, DiagonalGaussian, DistributionFamily
from sb3_trpo.trust_region.estimators import self_normalized, sum_over_actions
from sb3_trpo.trust_region.fisher import FisherMatrix
from sb3_trpo.trust_region.line_search import Evaluation, FullStep, LineSearchResult, backtracking_line_search, full_step
from sb3_trpo.trust_region.linearization import HALF_PRECISION, AutogradLinearization, Linearization, flatten, unflatten
from sb3_trpo.trust_region.status import Status

__all__ = [
    "HALF_PRECISION",
    "AutogradLinearization",
    "Bernoulli",
    "Beta",
    "Categorical",
    "DiagonalGaussian",
    "DistributionFamily",
    "Evaluation",
    "FisherMatrix",
    "FullStep",
    "ImprovementBound",
    "LineSearchResult",
    "Linearization",
    "Solution",
    "Status",
    "backtracking_line_search",
    "conjugate_gradient",
    "flatten",
    "full_step",
    "improvement_bound",
    "self_normalized",
    "sum_over_actions",
    "unflatten",
]
