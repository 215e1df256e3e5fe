"""The objective and its constraint at and around θ₀: surrogate plus entropy bonus, under a mean KL divergence (section 5)."""

import math
from collections.abc import Callable
from functools import partial

import torch as th
from stable_baselines3.common.distributions import Distribution

from sb3_trpo.policy import Actor, PolicyInput, draw, select
from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.sampling import Batch, Surrogate, is_parameter_check
from sb3_trpo.trust_region import Evaluation, FisherMatrix, Linearization, flatten

Terms = tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]


class PolicyObjective:
    """L(θ) + c · mean entropy, under mean KL(π_θ₀ ‖ π_θ) over the batch's states.

    ``theta`` is θ₀ ``[N]``, ``start`` the evaluation there and ``gradient`` the gradient there ``[N]``: with single path the
    policy gradient without the γᵗ weights, as is usual in practice. ``outputs`` are the parameters φ of
    π_θ₀ ``[B, P]``. Large batches are worked through in chunks. Of a batch spread over several ranks, L, its gradient and
    the entropy are means over all of it, while KL and ratios are those of the samples here.

    :param actor: the policy, standing at θ₀
    :param batch: samples of π_θ₀
    :param surrogate: L
    :param ent_coef: c
    :param ranks: processes that hold further samples, as many each
    """

    def __init__(self, actor: Actor, batch: Batch, surrogate: Surrogate, ent_coef: float, ranks: Ranks = ALONE):
        self.actor, self.batch, self.surrogate = actor, batch, surrogate
        self.ent_coef, self.ranks = ent_coef, ranks
        self.theta = actor.theta
        self.gradient = th.zeros_like(self.theta)
        self.outputs = batch.old_log_prob.new_empty(len(batch), actor.n_outputs)
        self._whole: list[Callable[[], Linearization]] = []  # what gives the one of all states, where they are one chunk
        branch_terms = 0.0
        for part in surrogate.branch_terms(actor):
            branch_terms += float(part.detach())
            self.gradient += flatten(th.autograd.grad(part, actor.parameters, materialize_grads=True))
        self.start = self._evaluation(self._differentiate, branch_terms)
        self.gradient = ranks.mean(self.gradient)

    def fisher(self, damping: float, fraction: float = 1.0) -> FisherMatrix:
        """F + λI at θ₀, over all states or a random share of them.

        :param damping: λ
        :param fraction: share of the states in (0, 1]
        """
        batch = self.batch
        if fraction < 1.0:
            rows = draw(batch.observations, max(1, round(fraction * len(batch))))
            batch = batch[rows.to(batch.old_log_prob.device)]
        elif self._whole:
            return FisherMatrix(self._whole, self.actor.family, damping, self.ranks)
        chunks = [partial(self._linearize, batch.observations, rows) for rows in self.actor.chunks(batch.observations)]
        return FisherMatrix(chunks, self.actor.family, damping, self.ranks)

    @th.no_grad()
    def evaluate(self, theta: th.Tensor) -> Evaluation:
        """L(θ) and KL(π_θ₀ ‖ π_θ); NaN, and so refused, where θ gives parameters that no distribution has."""
        try:
            with self.actor.at(theta):
                return self._evaluation(self._compare, sum(map(float, self.surrogate.branch_terms(self.actor))))
        except ValueError as error:
            if not is_parameter_check(error):
                raise
            return self._evaluation(self._no_distribution, math.nan)

    def _linearize(self, states: PolicyInput, rows: slice) -> Linearization:
        return self.actor.linearize(select(states, rows))[0]

    def _differentiate(self, rows: slice) -> Terms:
        """A chunk's terms at θ₀; its share of the gradient and its distribution parameters are kept."""
        chunk = self.batch[rows]
        linearization, distribution = self.actor.linearize(chunk.observations)
        surrogate, ratio, entropy = self._sums(rows, chunk, distribution)
        whole = len(chunk) == len(self.batch)
        self.gradient += linearization.gradient(surrogate, keep=whole) / len(self.batch)
        self.outputs[rows] = linearization.at.detach()
        if whole:
            self._whole = [lambda: linearization]
        return surrogate.detach(), th.zeros_like(chunk.old_log_prob), ratio.detach(), entropy.detach()

    def _compare(self, rows: slice) -> Terms:
        """A chunk's terms where the policy now stands."""
        chunk = self.batch[rows]
        distribution = self.actor.distribution_of(chunk.observations)
        kl = self.actor.family.kl_divergence(self.outputs[rows], self.actor.parameters_of(distribution))
        surrogate, ratio, entropy = self._sums(rows, chunk, distribution)
        return surrogate, kl, ratio, entropy

    def _no_distribution(self, rows: slice) -> Terms:
        """A chunk's terms where a wild θ gives no distribution."""
        nan = th.full_like(self.batch.old_log_prob[rows], math.nan)
        return nan.sum(), nan, nan, nan.sum()

    def _sums(self, rows: slice, chunk: Batch, distribution: Distribution) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Sum of the objective's terms, ratios ``[B]`` and sum of entropies under the distribution the policy now gives."""
        log_prob = distribution.log_prob(chunk.actions)
        ratio = th.exp(log_prob - chunk.old_log_prob)
        entropy = distribution.entropy()
        # Squashed distributions have no closed form: −E_θ[log π_θ], importance-weighted to the actions at hand.
        total_entropy = -(ratio * log_prob).sum() if entropy is None else entropy.sum()
        return self.surrogate.path_terms(rows, ratio) + self.ent_coef * total_entropy, ratio, total_entropy

    def _evaluation(self, terms: Callable[[slice], Terms], branch_terms: float) -> Evaluation:
        """The terms of every chunk put together."""
        # Written into place: results kept one by one lie between freed temporaries and keep the allocator from reusing them.
        kl, ratio = th.empty_like(self.batch.old_log_prob), th.empty_like(self.batch.old_log_prob)
        total_surrogate = total_entropy = 0.0
        for rows in self.actor.chunks(self.batch.observations):
            surrogate, kl[rows], ratio[rows], entropy = terms(rows)
            total_surrogate += float(surrogate)
            total_entropy += float(entropy)
        means = th.tensor([total_surrogate, total_entropy], dtype=th.float64) / len(self.batch)
        means[0] += branch_terms
        surrogate, entropy = self.ranks.mean(means).tolist()
        return Evaluation(surrogate, kl, ratio, entropy)
