"""The vine's surrogate: what the branches say of the actions tried (paper, section 5.2)."""

from collections.abc import Iterator

import torch as th

from sb3_trpo.policy import Actor, MaskedStates, PolicyInput, select
from sb3_trpo.ranks import Ranks, mean_and_std
from sb3_trpo.sampling.vine.first_actions import FirstActions
from sb3_trpo.trust_region import self_normalized, sum_over_actions


def branch_advantages(q_values: th.Tensor, possible: th.Tensor | None) -> th.Tensor:
    """Q̂ of each branch minus the mean over those of its state ``[N, K]``, reward units; 0 where there was none.

    :param q_values: Q̂ ``[N, K]``
    :param possible: where there was a branch ``[N, K]``; None: everywhere
    """
    if possible is None:
        return q_values - q_values.mean(dim=1, keepdim=True)
    mean = (q_values * possible).sum(dim=1, keepdim=True) / possible.sum(dim=1, keepdim=True)
    return (q_values - mean) * possible


def spread(branch_advantages: th.Tensor, possible: th.Tensor | None) -> float:
    """Standard deviation between the branches of a state, mean over states, reward units."""
    branches = th.tensor(branch_advantages.shape[1]) if possible is None else possible.sum(dim=1)
    return float((branch_advantages.square().sum(dim=1) / (branches - 1).clamp(min=1)).sqrt().mean())


class Branched:
    """L(θ) = mean over N states of Eq 15, where all actions were tried, or of Eq 16.

    Only differences between the branches of a state matter to either estimator, so Q̂ is taken relative to its mean over
    them: exact, and kinder to float32.

    :param observations: of the states ``[N, …]``, or a dict of such, or these with masks
    :param tried: K actions in each, of which impossible ones have probability 0
    :param branch_advantages: of their Q̂ ``[N, K]``, reward units
    :param normalize: whether the differences are divided by their standard deviation
    :param ranks: processes that hold further branches, as many each
    """

    def __init__(
        self,
        observations: PolicyInput,
        tried: FirstActions,
        branch_advantages: th.Tensor,
        normalize: bool,
        ranks: Ranks,
    ):
        self.observations, self.tried, self.branch_advantages = observations, tried, branch_advantages
        if normalize:
            std = mean_and_std(branch_advantages.flatten(), ranks)[1]
            if isinstance(observations, MaskedStates):  # on all ranks or on none; the zeros of impossible actions do not count
                share = branch_advantages.new_ones(()) if tried.possible is None else tried.possible.float().mean()
                std = std / ranks.mean(share).sqrt()
            self.branch_advantages = branch_advantages / (std + 1e-8)

    def path_terms(self, rows: slice, ratio: th.Tensor) -> th.Tensor:
        return (0.0 * ratio).sum()  # with a graph: the entropy bonus alone does not reach all of θ

    def branch_terms(self, actor: Actor) -> Iterator[th.Tensor]:
        for rows in actor.chunks(self.observations):
            distribution = actor.distribution_of(select(self.observations, rows))
            log_prob = th.stack([distribution.log_prob(action) for action in self.tried.actions[rows].unbind(dim=1)], dim=1)
            if self.tried.log_proposal is None:
                terms = sum_over_actions(log_prob, self.branch_advantages[rows])
            else:
                terms = self_normalized(log_prob - self.tried.log_proposal[rows], self.branch_advantages[rows])
            yield terms.sum() / len(self.branch_advantages)
