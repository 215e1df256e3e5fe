"""The vine's surrogate: what the branches say of the actions tried (paper, section 5.2)."""

from collections.abc import Iterator

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_trpo.policy import Actor, select
from sb3_trpo.ranks import Ranks, mean_and_std
from sb3_trpo.trust_region import self_normalized, sum_over_actions


class Branched:
    """L(θ) = mean over N states of Eq 15, where all actions were tried, or of Eq 16.

    Only differences between the branches of a state matter to either estimator, so Q̂ is taken relative to its mean over
    them: exact, and kinder to float32.

    :param observations: of the states ``[N, …]``, or a dict of such
    :param actions: tried there ``[N, K, …]``
    :param contrasts: Q̂ of each, minus the mean over its state's ``[N, K]``, reward units
    :param log_proposal: log q of each ``[N, K]``, nats; None if all actions were tried
    :param normalize: whether the differences are divided by their standard deviation
    :param ranks: processes that hold further branches, as many each
    """

    def __init__(
        self,
        observations: PyTorchObs,
        actions: th.Tensor,
        contrasts: th.Tensor,
        log_proposal: th.Tensor | None,
        normalize: bool,
        ranks: Ranks,
    ):
        self.observations, self.actions, self.log_proposal = observations, actions, log_proposal
        self.contrasts = contrasts / (mean_and_std(contrasts.flatten(), ranks)[1] + 1e-8) if normalize else contrasts

    def on_path(self, rows: slice, ratio: th.Tensor) -> th.Tensor:
        return (0.0 * ratio).sum()  # with a graph: the entropy bonus alone does not reach all of θ

    def beside(self, actor: Actor) -> Iterator[th.Tensor]:
        for rows in actor.chunks(self.observations):
            distribution = actor.distribution_of(select(self.observations, rows))
            log_prob = th.stack([distribution.log_prob(action) for action in self.actions[rows].unbind(dim=1)], dim=1)
            if self.log_proposal is None:
                terms = sum_over_actions(log_prob, self.contrasts[rows])
            else:
                terms = self_normalized(log_prob - self.log_proposal[rows], self.contrasts[rows])
            yield terms.sum() / len(self.contrasts)
