"""The updates that the paper compares TRPO's with, on the same rollouts: from an objective at θ₀ to a new θ."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch as th

from sb3_trpo import TRPO
from sb3_trpo.objective import Batch, SinglePathObjective
from sb3_trpo.policy import Actor
from sb3_trpo.rollouts import Samples
from sb3_trpo.trust_region import FisherMatrix, backtracking_line_search, conjugate_gradient, full_step

DELTA, DAMPING, CG_STEPS, SHRINK, CANDIDATES = 0.01, 0.1, 10, 0.8, 10  # for all that has a trust region
Update = Callable[[SinglePathObjective], th.Tensor]


class PolicySearch(TRPO):
    """TRPO's collection with another update of the policy, and no critic.

    :param update: new θ; kept if it is finite
    """

    def __init__(self, *args: Any, update: Update, **kwargs: Any):
        self.update = update
        super().__init__(*args, **kwargs)

    def train(self) -> None:
        self.policy.set_training_mode(False)
        batch = Batch.from_samples(Samples.from_buffer(self.rollout_buffer), 1, self.normalize_advantage)
        actor = Actor(self.policy, batch.observations)
        theta = self.update(SinglePathObjective(actor, batch, ent_coef=0.0))
        if th.isfinite(theta).all():
            actor.assign(theta)


@dataclass(frozen=True)
class VanillaGradient:
    """θ₀ + α g."""

    size: float

    def __call__(self, objective: SinglePathObjective) -> th.Tensor:
        return objective.actor.theta + self.size * objective.gradient


@dataclass(frozen=True)
class NaturalGradient:
    """θ₀ + α F⁻¹ g: TRPO's direction, with neither its step size nor its line search."""

    size: float

    def __call__(self, objective: SinglePathObjective) -> th.Tensor:
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


def empirical_fisher_matrix(objective: SinglePathObjective, damping: float) -> FisherMatrix:
    """(1/B) Σ ∇log π ∇log πᵀ + λI over the samples, in place of an expectation over actions."""
    linearization, distribution = objective.actor.linearize(objective.batch.observations)
    log_prob = distribution.log_prob(objective.batch.actions).sum()
    scores = th.autograd.grad(log_prob, linearization.at, retain_graph=True)[0]
    return FisherMatrix([lambda: linearization], ScoreMetric(scores), damping)


def empirical_fisher(objective: SinglePathObjective) -> th.Tensor:
    """TRPO's step with the empirical Fisher matrix."""
    solution = conjugate_gradient(empirical_fisher_matrix(objective, DAMPING).product, objective.gradient, CG_STEPS)
    step = full_step(solution, objective.gradient, DELTA)
    arguments = (objective.evaluate, objective.actor.theta, objective.start, step, DELTA, SHRINK, CANDIDATES)
    return backtracking_line_search(*arguments).theta
