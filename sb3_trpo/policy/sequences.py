"""What a recurrent policy is given: whole sequences of steps, each with the LSTM's states that it begins with.

π(a_t | h_t, s_t) with h_t computed from the state that the sequence began with, a constant, through the steps before. All
sequences go through the LSTM at once, packed or padded; what comes out is a row for each real step.

The policy is sb3-contrib's ``RecurrentActorCriticPolicy``, known by its attributes: ``lstm_actor``, and for the critic
``lstm_critic``, ``shared_lstm`` or the layer ``critic``.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from sb3_trpo.policy.lstm import twice_differentiable
from sb3_trpo.policy.masks import MaskedStates
from sb3_trpo.policy.observations import PolicyInput, States, observations_of, select, unmasked
from sb3_trpo.policy.padding import Padding

LstmState = tuple[th.Tensor, th.Tensor]  # hidden and cell states, each [layers, S, H]


class Memory(NamedTuple):
    """The states of a policy's LSTMs in S sequences."""

    actor: LstmState
    critic: LstmState

    def of(self, index: th.Tensor) -> "Memory":
        """Those in some of the sequences."""
        return Memory(*((hidden[:, index], cell[:, index]) for hidden, cell in self))


class Packing(NamedTuple):
    """Sequences, step by step.

    :param rows: where each packed row stands ``[B]``
    :param places: where each row is in the packed ones ``[B]``
    :param sizes: sequences that have a first step, a second, …
    :param order: the sequences, longest first ``[S]``
    :param ranks: the place of each in that order ``[S]``
    """

    rows: th.Tensor
    places: th.Tensor
    sizes: list[int]
    order: th.Tensor
    ranks: th.Tensor

    @classmethod
    def of(cls, lengths: np.ndarray, device: th.device) -> "Packing":
        order = np.argsort(-lengths, kind="stable")
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # each row's step
        rows = np.lexsort((np.repeat(np.argsort(order), lengths), within))
        arrays = (rows, np.argsort(rows), order, np.argsort(order))
        tensors = [th.as_tensor(array, device=device) for array in arrays]
        return cls(tensors[0], tensors[1], np.bincount(within).tolist(), tensors[2], tensors[3])


@dataclass(frozen=True)
class Sequences(States):
    """S sequences of B steps in all, one after another.

    :param source: what single steps give, among others those here: observations, or states that are more
    :param steps: which of them are here ``[B]``
    :param lengths: of the sequences ``[S]``
    :param begin: what their LSTMs begin with
    """

    source: PolicyInput
    steps: th.Tensor
    lengths: np.ndarray
    begin: Memory

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, rows: slice | th.Tensor) -> "Sequences":
        """Some sequences, whole or up to some step.

        :raises IndexError: for a row without those before it
        """
        index = np.arange(len(self))[rows] if isinstance(rows, slice) else rows.cpu().numpy()
        owners = np.repeat(np.arange(len(self.lengths)), self.lengths)[index]
        within = (np.arange(len(self)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths))[index]
        begins = np.flatnonzero(within == 0)
        lengths = np.diff([*begins, len(index)])
        before = np.arange(len(index)) - np.repeat(begins, lengths) if begins.size and begins[0] == 0 else None
        if before is None or (within != before).any() or (owners != np.repeat(owners[begins], lengths)).any():
            raise IndexError("A step of a sequence was selected without all those before it.")
        sequences = th.as_tensor(owners[begins], device=self.steps.device)
        return Sequences(self.source, self.steps[th.as_tensor(index)], lengths, self.begin.of(sequences))

    @cached_property
    def packing(self) -> Packing:
        return Packing.of(self.lengths, self.steps.device)

    @cached_property
    def padding(self) -> Padding:
        return Padding.of(self.lengths, self.steps.device)

    @property
    def _masks(self) -> th.Tensor | None:
        return self.source.masks[self.steps] if isinstance(self.source, MaskedStates) else None

    @property
    def observations(self) -> PyTorchObs:  # type: ignore[override]
        return select(observations_of(self.source), self.steps)

    def _features(self, policy: Any, extractor: Any, packed: bool = False) -> th.Tensor:
        steps = self.steps[self.packing.rows] if packed else self.steps
        return BasePolicy.extract_features(policy, select(observations_of(self.source), steps), extractor)

    def unmasked(self) -> "Sequences":
        return Sequences(unmasked(self.source), self.steps, self.lengths, self.begin)

    def draw(self, count: int) -> th.Tensor:
        """Rows of whole sequences, of the fewest in a random order that have so many steps."""
        order = th.randperm(len(self.lengths)).numpy()
        enough = np.searchsorted(np.cumsum(self.lengths[order]), count) + 1
        ends = np.cumsum(self.lengths)
        return th.as_tensor(np.concatenate([np.arange(ends[s] - self.lengths[s], ends[s]) for s in order[:enough]]))

    def chunks(self, size: int) -> list[slice]:
        """All rows in slices of whole sequences, of so many rows at most where no sequence is longer."""
        slices, begin, end = [], 0, 0
        for length in self.lengths.tolist():
            if end > begin and end + length - begin > size:
                slices.append(slice(begin, end))
                begin = end
            end += length
        return [*slices, slice(begin, end)]

    def distribution(self, policy: Any) -> Distribution:
        if th.is_grad_enabled():
            features = self._features(policy, policy.pi_features_extractor, packed=True)
            states = self._sorted(self.begin.actor)
            outputs = twice_differentiable(policy.lstm_actor, features, self.packing.sizes, states)[self.packing.places]
        else:
            features = self._features(policy, policy.pi_features_extractor)
            outputs = self.padding.outputs(policy.lstm_actor, features, self.begin.actor)
        distribution = policy._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(outputs))
        if self._masks is not None:
            distribution.apply_masking(self._masks)
        return distribution

    def values(self, policy: Any) -> th.Tensor:
        features = self._features(policy, policy.vf_features_extractor)
        lstm, begin = self._critics(policy)
        outputs = policy.critic(features) if lstm is None else self.padding.outputs(lstm, features, begin)
        return policy.value_net(policy.mlp_extractor.forward_critic(outputs.detach() if policy.shared_lstm else outputs))

    def values_and_end(self, policy: Any) -> tuple[th.Tensor, LstmState]:
        """V of each state ``[B, 1]``, and the critic's LSTM after each sequence's last step ``[layers, S, H]``."""
        lstm, end = self._critics(policy)
        if lstm is None:
            return self.values(policy), end
        features = PackedSequence(
            self._features(policy, policy.vf_features_extractor, packed=True), th.as_tensor(self.packing.sizes)
        )
        outputs, (hidden, cell) = lstm(features, self._sorted(end))
        values = policy.value_net(policy.mlp_extractor.forward_critic(outputs.data[self.packing.places]))
        return values, (hidden[:, self.packing.ranks], cell[:, self.packing.ranks])

    def _critics(self, policy: Any) -> tuple[nn.LSTM | None, LstmState]:
        """The LSTM that the critic has, its own or the actor's, and what it begins with."""
        if policy.lstm_critic is not None:
            return policy.lstm_critic, self.begin.critic
        return (policy.lstm_actor, self.begin.actor) if policy.shared_lstm else (None, self.begin.critic)

    def _sorted(self, states: LstmState) -> LstmState:
        hidden, cell = states
        return hidden[:, self.packing.order].contiguous(), cell[:, self.packing.order].contiguous()
