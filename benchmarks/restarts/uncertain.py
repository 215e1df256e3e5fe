"""Restarts where critics disagree: a source for the study, which is no part of the package because it solved nothing more."""

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from sb3_trpo.restarts import Start, Visited

PASSES, ROWS = 5, 256


class Uncertain(Visited):
    """Visited states, each with a probability proportional to the standard deviation of an ensemble's values there.

    :param size: of a state's observation, one vector
    :param capacity: states kept
    :param members: critics, alike but for their first weights and the samples that they are fitted to
    :param seed: of both
    """

    def __init__(self, size: int, capacity: int = 1000, members: int = 5, seed: int = 0):
        super().__init__(capacity)
        with th.random.fork_rng([]):
            th.manual_seed(seed)
            self.critics = [nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 1)) for _ in range(members)]
        self.optimizers = [th.optim.Adam(critic.parameters()) for critic in self.critics]
        self.rng = np.random.default_rng(seed)

    def fit(self, observations: np.ndarray, returns: np.ndarray) -> None:
        """A few passes of each critic over a bootstrap sample.

        :param observations: ``[B, …]``
        :param returns: ``[B]``
        """
        for critic, optimizer in zip(self.critics, self.optimizers, strict=True):
            sample = self.rng.integers(len(returns), size=PASSES * len(returns))
            for begin in range(0, len(sample), ROWS):
                rows = sample[begin : begin + ROWS]
                inputs, targets = (th.as_tensor(part[rows], dtype=th.float32) for part in (observations, returns))
                optimizer.zero_grad()
                (critic(inputs.flatten(1)).squeeze(1) - targets).square().mean().backward()
                optimizer.step()

    @th.no_grad()
    def spread(self) -> np.ndarray:
        """Standard deviation of the ensemble's values in each kept state."""
        states = th.as_tensor(np.stack([start.observation for start in self.starts]), dtype=th.float32).flatten(1)
        return th.cat([critic(states) for critic in self.critics], dim=1).std(dim=1).numpy()

    def choose(self, rng: np.random.Generator) -> Start | None:
        if not self.starts:
            return None
        sums = np.cumsum(self.spread().astype(np.float64))
        return self.starts[int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))]


class FitEnsemble(BaseCallback):
    """Fits the ensemble to every rollout."""

    def __init__(self, source: Uncertain):
        super().__init__()
        self.source = source

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.source.fit(buffer.observations.reshape(-1, *buffer.obs_shape), buffer.returns.flatten())
