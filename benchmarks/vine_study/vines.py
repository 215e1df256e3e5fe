"""Vines that differ from the package's in the branches they grow or in what is made of them, and a surrogate of trunk and
branches together.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.policy import Actor
from sb3_trpo.ranks import Ranks
from sb3_trpo.sampling import Batch, FirstActions, ImportanceSampled, PathAlone, Surrogate, Trunk, Vine, VineBatch
from sb3_trpo.sampling.vine.branches import Branch


class LargestAdvantages(Vine):
    """Saves ``CANDIDATES`` times as many states as it branches from, and draws those with probability ∝ |Â|.

    Each state's advantages are divided by how many times likelier it was than under a uniform choice, so that the
    objective is in expectation that of all candidates.
    """

    CANDIDATES = 4

    def trunk(self, n_steps: int, rng: np.random.Generator) -> Trunk:
        assert self.settings.n_states is not None
        return Trunk(self.env, n_steps, self.CANDIDATES * self.settings.n_states, rng)

    def grow(
        self, policy: ActorCriticPolicy, buffer: RolloutBuffer, trunk: Trunk, rng: np.random.Generator, *others: Any
    ) -> VineBatch:
        steps, envs = np.divmod(trunk.chosen, trunk.n_envs)
        size = np.abs(buffer.advantages[steps, envs].astype(np.float64))
        probability = (size + size.mean()) / (2.0 * size.sum())  # half of it uniform: no weight is above two
        drawn = rng.choice(len(size), self.settings.n_states, p=probability)
        trunk.chosen, trunk.states = trunk.chosen[drawn], [trunk.states[index] for index in drawn]
        batch = super().grow(policy, buffer, trunk, rng, *others)
        weight = th.as_tensor(1.0 / (len(size) * probability[drawn]), dtype=th.float32)[:, None]
        mean = batch.q_values.mean(dim=1, keepdim=True)
        return replace(batch, q_values=mean + weight * (batch.q_values - mean))


class TrunkAsBranch(Vine):
    """The trunk is one more branch of every state, and the others share the noise behind its actions. Gaussian policies."""

    def trunk(self, n_steps: int, rng: np.random.Generator) -> Trunk:
        """States that have a whole branch's length of trunk after them."""
        assert self.settings.n_states is not None
        return Trunk(self.env, n_steps - self.settings.branch_length, self.settings.n_states, rng)

    def grow(
        self,
        policy: ActorCriticPolicy,
        buffer: RolloutBuffer,
        trunk: Trunk,
        rng: np.random.Generator,
        gamma: float,
        *others: Any,
    ) -> VineBatch:
        self._noise = [self._noise_after(policy, buffer, *place) for place in trunk.places]
        batch = super().grow(policy, buffer, trunk, rng, gamma, *others)
        steps, envs = np.transpose(trunk.places)
        assert batch.tried.log_proposal is not None
        actions = th.as_tensor(buffer.actions[steps, envs])[:, None]
        returns = th.tensor([self._return(buffer, gamma, *place) for place in trunk.places], dtype=th.float32)[:, None]
        log_prob = th.as_tensor(buffer.log_probs[steps, envs])[:, None]
        tried = FirstActions(
            th.cat([batch.tried.actions, actions], dim=1), th.cat([batch.tried.log_proposal, log_prob], dim=1)
        )
        return replace(batch, tried=tried, q_values=th.cat([batch.q_values, returns], dim=1))

    @th.no_grad()
    def _noise_after(self, policy: ActorCriticPolicy, buffer: RolloutBuffer, step: int, env: int) -> np.ndarray:
        """ε = (a − mean)/σ of the trunk's steps after the first ``[m − 1, d]``."""
        rows = slice(step + 1, step + self.settings.branch_length)
        observations, actions = buffer.observations[rows, env], buffer.actions[rows, env]  # type: ignore[index, call-overload]
        normal = policy.get_distribution(th.as_tensor(observations)).distribution
        assert isinstance(normal, th.distributions.Normal)
        return ((th.as_tensor(actions) - normal.mean) / normal.stddev).numpy()

    def _return(self, buffer: RolloutBuffer, gamma: float, step: int, env: int) -> float:
        """The trunk's own Q̂, with the critic's value where it is cut."""
        length = self.settings.branch_length
        rewards, starts = buffer.rewards[step : step + length, env], buffer.episode_starts[step + 1 : step + length + 1, env]
        taken = int(starts.argmax()) + 1 if starts.any() else length
        value = 0.0 if starts.any() else gamma**length * float(buffer.values[step + length, env])
        return float(rewards[:taken] @ gamma ** np.arange(taken)) + value

    def _branches(self, policy: ActorCriticPolicy, states: Any, tried: FirstActions, *others: Any) -> list[Branch]:
        branches = super()._branches(policy, states, tried, *others)
        return [branch._replace(noise=self._noise[index // tried.shape[1]]) for index, branch in enumerate(branches)]


class FreshValues(Vine):
    """The trunk's own actions, with Â = r + γ V̂(s′) − V̂(s) (Kazemnejad et al. 2024). V̂ is the mean return of branches that
    draw all their actions from the policy. Every state of the trunk is branched from. The last step of each environment has an
    advantage of 0, because no branch begins after it. For Gaussian policies only.
    """

    def grow(  # type: ignore[override]
        self,
        policy: ActorCriticPolicy,
        buffer: RolloutBuffer,
        trunk: Trunk,
        rng: np.random.Generator,
        gamma: float,
        *others: Any,
    ) -> PathAlone:
        batch = super().grow(policy, buffer, trunk, rng, gamma, *others)
        values = batch.q_values.mean(dim=1).numpy().reshape(buffer.rewards.shape)
        goes_on = 1.0 - buffer.episode_starts[1:]
        buffer.advantages[:] = 0.0
        buffer.advantages[:-1] = buffer.rewards[:-1] + gamma * goes_on * values[1:] - values[:-1]
        return PathAlone(batch.steps, diagnostics=batch.diagnostics)


@dataclass(frozen=True)
class MixedSurrogate:
    """(1 − w) times single path's plus w times the vine's."""

    path: Surrogate
    vine: Surrogate
    weight: float = 0.4

    def path_terms(self, rows: slice, ratio: th.Tensor) -> th.Tensor:
        return (1.0 - self.weight) * self.path.path_terms(rows, ratio) + self.weight * self.vine.path_terms(rows, ratio)

    def branch_terms(self, actor: Actor) -> Iterator[th.Tensor]:
        return (self.weight * part for part in self.vine.branch_terms(actor))


class MixedBatch(VineBatch):
    """Branches whose surrogate has the trunk's, too."""

    def surrogate(self, batch: Batch, normalize: bool, ranks: Ranks) -> MixedSurrogate:  # type: ignore[override]
        return MixedSurrogate(ImportanceSampled(batch), super().surrogate(batch, normalize, ranks))


class Hybrid(Vine):
    """The trunk's surrogate and the branches', under the same constraint."""

    def grow(self, *arguments: Any) -> VineBatch:
        grown = super().grow(*arguments)
        return MixedBatch(**{field.name: getattr(grown, field.name) for field in fields(grown)})
