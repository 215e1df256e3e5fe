"""What the policy's step needs of a rollout, and what its samples say for the surrogate."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Protocol

import torch as th

from sb3_trpo.policy import Actor, PolicyInput, draw, select
from sb3_trpo.ranks import ALONE, Ranks, mean_and_std
from sb3_trpo.sampling.samples import Samples


@dataclass(frozen=True)
class Batch:
    """States of the trust region, with the actions taken there.

    :param observations: ``[B, …]``, a dict of such, or states that are more than these
    :param actions: ``[B, …]`` as the distribution's ``log_prob`` takes them
    :param old_log_prob: log π_θ₀(a|s) ``[B]``, nats
    :param advantages: Â as the surrogate uses it ``[B]``
    :param raw_advantages: Â before normalisation ``[B]``, reward units
    """

    observations: PolicyInput
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
            rows = draw(batch.observations, -(-len(samples) // sub_sampling_factor))
            batch = batch[rows.to(raw.device)]
        if not normalize_advantage:
            return batch
        raw = batch.raw_advantages
        mean, std = mean_and_std(raw, ranks)
        return cls(batch.observations, batch.actions, batch.old_log_prob, (raw - mean) / (std + 1e-8), raw)

    def __len__(self) -> int:
        return len(self.old_log_prob)

    def __getitem__(self, rows: slice | th.Tensor) -> "Batch":
        return Batch(select(self.observations, rows), *(getattr(self, field.name)[rows] for field in fields(self)[1:]))


class Surrogate(Protocol):
    """L(θ), but for the entropy bonus: a mean over the batch's states, and perhaps terms from other states."""

    def path_terms(self, rows: slice, ratio: th.Tensor) -> th.Tensor:
        """Sum of the terms of some of the batch's samples.

        :param rows: which
        :param ratio: π_θ(a|s)/π_θ₀(a|s) of each ``[rows]``, with its graph
        """
        ...

    def branch_terms(self, actor: Actor) -> Iterator[th.Tensor]:
        """Terms from other states, in parts that add up; none for most.

        :param actor: the policy at θ
        """
        ...


class ImportanceSampled:
    """L(θ) = mean[π_θ(a|s)/π_θ₀(a|s) Â] over the path (paper, section 5.1).

    :param batch: samples of π_θ₀
    """

    def __init__(self, batch: Batch):
        self.batch = batch

    def path_terms(self, rows: slice, ratio: th.Tensor) -> th.Tensor:
        return (ratio * self.batch.advantages[rows]).sum()

    def branch_terms(self, actor: Actor) -> Iterator[th.Tensor]:
        return iter(())
