"""The single-path objective: importance-sampled surrogate and KL constraint over a batch of states (paper, section 5)."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch as th
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_trpo.distributed import ALONE, Ranks, mean_and_std
from sb3_trpo.policies import Actor, distribution_parameters
from sb3_trpo.rollouts import Samples, is_parameter_check, select
from sb3_trpo.trust_region import Evaluation, FisherMatrix, Linearization

# Activations kept at a time, over the rows of a chunk: some 160 Atari frames of NatureCNN, or all of a usual MLP's batch.
CHUNK_ACTIVATIONS = 2**23

Terms = tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]


@dataclass(frozen=True)
class Batch:
    """What the policy's step needs of a rollout.

    :param observations: ``[B, …]``, or a dict of such
    :param actions: ``[B, …]`` as the distribution's ``log_prob`` takes them
    :param old_log_prob: log π_θ₀(a|s) ``[B]``, nats
    :param advantages: Â as the surrogate uses it ``[B]``
    :param raw_advantages: Â before normalisation ``[B]``, reward units
    """

    observations: PyTorchObs
    actions: th.Tensor
    old_log_prob: th.Tensor
    advantages: th.Tensor
    raw_advantages: th.Tensor

    @classmethod
    def from_samples(
        cls, samples: Samples, sub_sampling_factor: int, normalize_advantage: bool, ranks: Ranks = ALONE
    ) -> "Batch":
        """All samples, or a random share of 1 / ``sub_sampling_factor`` of them.

        :param samples: a rollout
        :param sub_sampling_factor: at least 1
        :param normalize_advantage: whether Â is standardised over the samples taken
        :param ranks: processes that hold further samples, as many each
        """
        raw = samples.advantages
        batch = cls(samples.observations, samples.actions, samples.log_probs, raw, raw)
        if sub_sampling_factor > 1:
            batch = batch[th.randperm(len(samples))[::sub_sampling_factor].to(raw.device)]
        if not normalize_advantage:
            return batch
        raw = batch.raw_advantages
        mean, std = mean_and_std(raw, ranks)
        return cls(batch.observations, batch.actions, batch.old_log_prob, (raw - mean) / (std + 1e-8), raw)

    def __len__(self) -> int:
        return len(self.old_log_prob)

    def __getitem__(self, rows: slice | th.Tensor) -> "Batch":
        return Batch(select(self.observations, rows), *(getattr(self, field.name)[rows] for field in fields(self)[1:]))


class SinglePathObjective:
    """L(θ) = mean[π_θ(a|s)/π_θ₀(a|s) Â] + c · mean entropy, under mean KL(π_θ₀ ‖ π_θ), at and around θ₀.

    ``start`` is the evaluation at θ₀ and ``gradient`` is g = ∇L(θ₀) ``[N]``: the policy gradient without the γᵗ
    weights, as is usual in practice. Large batches are worked through in chunks. Of a batch spread over several ranks,
    L, its gradient and the entropy are means over all of it, while KL and ratios are those of the samples here.

    :param actor: the policy, standing at θ₀
    :param batch: samples of π_θ₀
    :param ent_coef: c
    :param ranks: processes that hold further samples, as many each
    """

    def __init__(self, actor: Actor, batch: Batch, ent_coef: float, ranks: Ranks = ALONE):
        self.actor = actor
        self.batch = batch
        self.ent_coef = ent_coef
        self.ranks = ranks
        self.chunk_size = max(1, CHUNK_ACTIVATIONS // max(1, actor.activations))
        self.gradient = th.zeros_like(actor.theta)
        self.outputs = batch.old_log_prob.new_empty(len(batch), actor.n_outputs)
        self._whole: list[Callable[[], Linearization]] = []  # what gives the one of all states, where they are one chunk
        self.start = self._evaluation(self._differentiate)
        self.gradient = ranks.mean(self.gradient)

    def fisher(self, damping: float, fraction: float = 1.0) -> FisherMatrix:
        """F + λI at θ₀, over all states or a random share of them.

        :param damping: λ
        :param fraction: share of the states in (0, 1]
        """
        batch = self.batch
        if fraction < 1.0:
            rows = th.randperm(len(batch))[: max(1, round(fraction * len(batch)))]
            batch = batch[rows.to(batch.old_log_prob.device)]
        elif self._whole:
            return FisherMatrix(self._whole, self.actor.family, damping, self.ranks.mean)
        chunks = [partial(self._linearize, batch.observations, rows) for rows in self._chunks(batch)]
        return FisherMatrix(chunks, self.actor.family, damping, self.ranks.mean)

    @th.no_grad()
    def evaluate(self, theta: th.Tensor) -> Evaluation:
        """L(θ) and KL(π_θ₀ ‖ π_θ)."""
        with self.actor.at(theta):
            return self._evaluation(self._compare)

    def _linearize(self, observations: PyTorchObs, rows: slice) -> Linearization:
        return self.actor.linearize(select(observations, rows))[0]

    def _chunks(self, batch: Batch) -> list[slice]:
        return [slice(start, start + self.chunk_size) for start in range(0, len(batch), self.chunk_size)]

    def _differentiate(self, rows: slice) -> Terms:
        """A chunk's terms at θ₀; its share of the gradient and its distribution parameters are kept."""
        chunk = self.batch[rows]
        linearization, distribution = self.actor.linearize(chunk.observations)
        surrogate, ratio, entropy = self._sums(chunk, distribution)
        whole = len(chunk) == len(self.batch)
        self.gradient += linearization.gradient(surrogate, keep=whole) / len(self.batch)
        self.outputs[rows] = linearization.at.detach()
        if whole:
            self._whole = [lambda: linearization]
        return surrogate.detach(), th.zeros_like(chunk.old_log_prob), ratio.detach(), entropy.detach()

    def _compare(self, rows: slice) -> Terms:
        """A chunk's terms where the policy now stands; NaN where a wild θ gives no distribution."""
        chunk = self.batch[rows]
        try:
            distribution = self.actor.policy.get_distribution(chunk.observations)
        except ValueError as error:
            if not is_parameter_check(error):
                raise
            nan = th.full_like(chunk.old_log_prob, math.nan)
            return nan.sum(), nan, nan, nan.sum()
        kl = self.actor.family.kl_divergence(self.outputs[rows], distribution_parameters(distribution))
        surrogate, ratio, entropy = self._sums(chunk, distribution)
        return surrogate, kl, ratio, entropy

    def _sums(self, chunk: Batch, distribution: Distribution) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Sum of the surrogate's terms, ratios ``[B]`` and sum of entropies under the distribution the policy now gives."""
        log_prob = distribution.log_prob(chunk.actions)
        ratio = th.exp(log_prob - chunk.old_log_prob)
        entropy = distribution.entropy()
        # Squashed distributions have no closed form: −E_θ[log π_θ], importance-weighted to the actions at hand.
        total_entropy = -(ratio * log_prob).sum() if entropy is None else entropy.sum()
        return (ratio * chunk.advantages).sum() + self.ent_coef * total_entropy, ratio, total_entropy

    def _evaluation(self, terms: Callable[[slice], Terms]) -> Evaluation:
        """The terms of every chunk put together."""
        # Written into place: results kept one by one lie between freed temporaries and keep the allocator from reusing them.
        kl, ratio = th.empty_like(self.batch.old_log_prob), th.empty_like(self.batch.old_log_prob)
        total_surrogate = total_entropy = 0.0
        for rows in self._chunks(self.batch):
            surrogate, kl[rows], ratio[rows], entropy = terms(rows)
            total_surrogate += float(surrogate)
            total_entropy += float(entropy)
        means = th.tensor([total_surrogate, total_entropy], dtype=th.float64) / len(self.batch)
        surrogate, entropy = self.ranks.mean(means).tolist()
        return Evaluation(surrogate, kl, ratio, entropy)
