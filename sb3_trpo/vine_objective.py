"""The vine's objective: what the branches say of the actions tried, under the trunk's KL constraint (paper, section 5.2)."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch as th

from sb3_trpo.distributed import ALONE, Ranks, mean_and_std
from sb3_trpo.objective import Batch, SinglePathObjective
from sb3_trpo.policies import Actor
from sb3_trpo.rollouts import VineBatch, is_parameter_check, select
from sb3_trpo.trust_region import Evaluation, FisherMatrix, flatten, self_normalized, sum_over_actions


class VineObjective:
    """L(θ) = mean over N states of Eq 15 or Eq 16 + c · mean entropy, under mean KL(π_θ₀ ‖ π_θ) over the trunk.

    Only differences between the branches of a state matter to either estimator, so Q̂ is taken relative to its mean over
    them: exact, and kinder to float32. ``start`` and ``gradient`` are those of :class:`SinglePathObjective`, whose KL,
    Fisher matrix, ratios and entropy these are too.

    :param actor: the policy, standing at θ₀
    :param trunk: samples of π_θ₀
    :param vine: the branches
    :param ent_coef: c
    :param normalize: whether the differences are divided by their standard deviation
    :param ranks: processes that hold further samples and branches, as many each
    """

    def __init__(self, actor: Actor, trunk: Batch, vine: VineBatch, ent_coef: float, normalize: bool, ranks: Ranks = ALONE):
        self.actor, self.vine, self.ranks = actor, vine, ranks
        self.region = SinglePathObjective(actor, replace(trunk, advantages=th.zeros_like(trunk.advantages)), ent_coef, ranks)
        self.contrasts = vine.contrasts
        if normalize:
            self.contrasts = self.contrasts / (mean_and_std(self.contrasts.flatten(), ranks)[1] + 1e-8)
        surrogate, gradient = 0.0, th.zeros_like(self.region.gradient)
        for part in self._surrogates():
            surrogate += float(part.detach())
            gradient += flatten(th.autograd.grad(part, actor.parameters))
        self.gradient = self.region.gradient + ranks.mean(gradient)
        self.start = self._with(self.region.start, surrogate)

    def fisher(self, damping: float, fraction: float = 1.0) -> FisherMatrix:
        """F + λI at θ₀, over the trunk's states or a random share of them.

        :param damping: λ
        :param fraction: share of the states in (0, 1]
        """
        return self.region.fisher(damping, fraction)

    @th.no_grad()
    def evaluate(self, theta: th.Tensor) -> Evaluation:
        """L(θ) and KL(π_θ₀ ‖ π_θ)."""
        try:
            with self.actor.at(theta):
                surrogate = sum(float(part) for part in self._surrogates())
        except ValueError as error:
            if not is_parameter_check(error):
                raise
            surrogate = math.nan  # a wild θ gives no distribution
        return self._with(self.region.evaluate(theta), surrogate)

    def _surrogates(self) -> Iterator[th.Tensor]:
        """Terms of the mean over states where the policy now stands, in chunks."""
        vine, size = self.vine, self.region.chunk_size
        for start in range(0, len(self.contrasts), size):
            rows = slice(start, start + size)
            distribution = self.actor.policy.get_distribution(select(vine.observations, rows))
            log_prob = th.stack([distribution.log_prob(action) for action in vine.actions[rows].unbind(dim=1)], dim=1)
            if vine.log_proposal is None:
                terms = sum_over_actions(log_prob, self.contrasts[rows])
            else:
                terms = self_normalized(log_prob - vine.log_proposal[rows], self.contrasts[rows])
            yield terms.sum() / len(self.contrasts)

    def _with(self, evaluation: Evaluation, surrogate: float) -> Evaluation:
        mean = float(self.ranks.mean(th.tensor(surrogate, dtype=th.float64)))
        return replace(evaluation, surrogate=evaluation.surrogate + mean)
