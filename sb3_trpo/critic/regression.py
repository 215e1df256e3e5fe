"""Regression of the returns on the states: the protocol, and the one that serves every critic."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_trpo.critic.minibatches import Minibatch
from sb3_trpo.policy import PolicyInput, select
from sb3_trpo.ranks import Ranks


class Regression(Protocol):
    """A fit in progress.

    :param targets: returns of the samples here ``[B, …]``
    :param ranks: those who share every minibatch
    """

    targets: th.Tensor
    ranks: Ranks

    def shuffle(self, order: th.Tensor) -> None:
        """Begin a pass over the samples here in this order."""
        ...

    def step(self, minibatch: Minibatch) -> None:
        """One optimizer step on a minibatch, this rank's share of which are rows of the shuffled samples."""
        ...

    def finish(self) -> float:
        """Write what is not written yet; the mean squared error over all minibatches."""
        ...


class TorchRegression:
    """Any critic, with any optimizer.

    :param values_of: V as a function of rows of the inputs
    :param inputs: ``[B, …]``, or a dict of such
    :param targets: ``[B]``
    :param parameters: what may move
    :param optimizer: moves it; parameters without a gradient it leaves alone
    :param ranks: those who share every minibatch
    """

    def __init__(
        self,
        values_of: Callable[[Any], th.Tensor],
        inputs: PolicyInput,
        targets: th.Tensor,
        parameters: list[nn.Parameter],
        optimizer: th.optim.Optimizer,
        ranks: Ranks,
    ):
        self.values_of, self.inputs, self.targets = values_of, inputs, targets
        self.parameters, self.optimizer, self.ranks = parameters, optimizer, ranks
        self.losses: list[th.Tensor] = []
        optimizer.zero_grad()

    def shuffle(self, order: th.Tensor) -> None:
        self.order = order.to(self.targets.device)

    def step(self, minibatch: Minibatch) -> None:
        self._step(self.order[minibatch.rows], minibatch.size)

    def _step(self, rows: th.Tensor, size: int) -> None:
        """One on these rows of the inputs, of a minibatch that has so many over all ranks."""
        if len(rows):
            values = self.values_of(select(self.inputs, rows)).flatten()
            loss = F.mse_loss(values, self.targets[rows], reduction="sum") / size
            found: Sequence[th.Tensor | None] = th.autograd.grad(loss, self.parameters, allow_unused=True)
        else:  # the others have all of this minibatch; not every network can be given no rows
            loss, found = self.targets.new_zeros(()), [None] * len(self.parameters)
        pairs = zip(self.parameters, found, strict=True)
        gradients = [th.zeros_like(parameter) if gradient is None else gradient for parameter, gradient in pairs]
        reached = [gradient is not None for gradient in found]
        if self.ranks.size > 1:
            ranks_that_reach = self.targets.new_tensor(reached)
            self.ranks.all_reduce([*gradients, ranks_that_reach])
            reached = [count > 0 for count in ranks_that_reach.tolist()]
        for parameter, gradient, is_reached in zip(self.parameters, gradients, reached, strict=True):
            parameter.grad = gradient if is_reached else None  # what no row depends on, the optimizer leaves alone
        self.optimizer.step()
        self.losses.append(loss.detach())

    def finish(self) -> float:
        self.optimizer.zero_grad()
        return mean_loss(self.losses, self.ranks)


def mean_loss(losses: Sequence[th.Tensor], ranks: Ranks) -> float:
    """Mean over minibatches of what all ranks' shares of each add up to."""
    return ranks.size * float(ranks.mean(th.stack(list(losses)).mean()))
