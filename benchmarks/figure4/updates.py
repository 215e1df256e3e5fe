"""The updates that the paper compares TRPO's with, on the same rollouts: from an objective at θ₀ to a new θ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch as th

from sb3_trpo import TRPO
from sb3_trpo.trust_region import (
    FisherMatrix,
    FullStep,
    LineSearchResult,
    Solution,
    Status,
    backtracking_line_search,
    conjugate_gradient,
    full_step,
)
from sb3_trpo.update import PolicyObjective, Step

DELTA, DAMPING, CG_STEPS, SHRINK, CANDIDATES = 0.01, 0.1, 10, 0.8, 10  # for all that has a trust region
Update = Callable[[PolicyObjective], th.Tensor]


class PolicySearch(TRPO):
    """TRPO with another update of the policy.

    :param update: new θ; kept if it is finite
    """

    def __init__(self, *args: Any, update: Update, **kwargs: Any):
        self.update = update
        super().__init__(*args, **kwargs)

    def _find_step(self, objective: PolicyObjective) -> Step:
        theta, start = self.update(objective), objective.start
        change = theta - objective.theta
        unsolved = Solution(change, Status.OK, 0, float("nan"), float("nan"))
        full = FullStep(change, 1.0, float(objective.gradient @ change), Status.OK)
        if not th.isfinite(theta).all():
            return Step(start, unsolved, full, LineSearchResult(objective.theta, start, 0, 0.0, Status.NO_CANDIDATE))
        return Step(start, unsolved, full, LineSearchResult(theta, objective.evaluate(theta), 0, 1.0, Status.OK))


@dataclass(frozen=True)
class VanillaGradient:
    """θ₀ + α g."""

    size: float

    def __call__(self, objective: PolicyObjective) -> th.Tensor:
        return objective.actor.theta + self.size * objective.gradient


@dataclass(frozen=True)
class NaturalGradient:
    """θ₀ + α F⁻¹ g: TRPO's direction, with neither its step size nor its line search."""

    size: float

    def __call__(self, objective: PolicyObjective) -> th.Tensor:
        solution = conjugate_gradient(objective.fisher(DAMPING).product, objective.gradient, CG_STEPS)
        return objective.actor.theta + self.size * solution.x


@dataclass(frozen=True)
class ScoreMetric:
    """The Fisher matrix of a sampled action in the distribution's parameters φ: ψ ψᵀ with ψ = ∇_φ log π(a|s).

    :param scores: ψ of every sample ``[B, P]``
    """

    scores: th.Tensor

    def fisher(self, parameters: th.Tensor) -> Callable[[th.Tensor], th.Tensor]:
        return lambda vector: self.scores * (self.scores * vector).sum(dim=1, keepdim=True)

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        raise NotImplementedError("only a Fisher matrix")


def empirical_fisher_matrix(objective: PolicyObjective, damping: float) -> FisherMatrix:
    """(1/B) Σ ∇log π ∇log πᵀ + λI over the samples, in place of an expectation over actions."""
    linearization, distribution = objective.actor.linearize(objective.batch.observations)
    log_prob = distribution.log_prob(objective.batch.actions).sum()
    scores = th.autograd.grad(log_prob, linearization.at, retain_graph=True)[0]
    return FisherMatrix([lambda: linearization], ScoreMetric(scores), damping)


def empirical_fisher(objective: PolicyObjective) -> th.Tensor:
    """TRPO's step with the empirical Fisher matrix."""
    solution = conjugate_gradient(empirical_fisher_matrix(objective, DAMPING).product, objective.gradient, CG_STEPS)
    step = full_step(solution, objective.gradient, DELTA)
    arguments = (objective.evaluate, objective.actor.theta, objective.start, step, DELTA, SHRINK, CANDIDATES)
    return backtracking_line_search(*arguments).theta
