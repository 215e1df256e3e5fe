"""The regression of a critic with memory: minibatches of whole sequences."""

import numpy as np
import torch as th

from sb3_trpo.critic.minibatches import Minibatch
from sb3_trpo.critic.regression import TorchRegression
from sb3_trpo.policy import Sequences


class SequenceRegression(TorchRegression):
    """A minibatch has the sequences that begin in it, whole, when all are laid one after another in a random order.

    So minibatches have ``batch_size`` steps in the mean. Of sequences longer than that each is one by itself.
    """

    inputs: Sequences

    def shuffle(self, order: th.Tensor) -> None:
        """In the order of the sequences' first steps in a random order of all steps."""
        lengths = self.inputs.lengths
        first = np.cumsum(lengths) - lengths
        turns = np.empty(len(order), dtype=np.int64)
        turns[order.cpu().numpy()] = np.arange(len(order))
        sequences = np.argsort(turns[first])
        self._first, self._lengths = first[sequences], lengths[sequences]
        self._begins = np.cumsum(self._lengths) - self._lengths

    def step(self, minibatch: Minibatch) -> None:
        begin, end = np.searchsorted(self._begins, [minibatch.rows.start, minibatch.rows.stop])
        total = th.tensor([float(self._lengths[begin:end].sum())])
        self.ranks.all_reduce([total])
        if total > 0:
            parts = zip(self._first[begin:end], self._lengths[begin:end], strict=True)
            rows = np.concatenate([np.arange(0), *(np.arange(first, first + length) for first, length in parts)])
            self._step(th.as_tensor(rows, device=self.targets.device), int(total))
