"""What a policy is given in each of B states: an observation, as a rule, in a tensor or a dict of tensors.

Where it is more, a mask of actions or the steps before, a :class:`States` holds it and knows how the policy takes it.
"""

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
import torch as th
from gymnasium.vector.utils import create_empty_array
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.observation_parts import map_parts, parts_of


class States(ABC):
    """A batch of states that are more than their observations; it stands wherever observations ``[B, …]`` do."""

    observations: PyTorchObs  # what the networks see ``[B, …]``, or a dict of such

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, rows: slice | th.Tensor) -> "States":
        """Some of the states."""

    @abstractmethod
    def distribution(self, policy: ActorCriticPolicy) -> Distribution:
        """What the policy does in each state."""

    @abstractmethod
    def values(self, policy: ActorCriticPolicy) -> th.Tensor:
        """V of each state ``[B, 1]``, reward units."""

    def restrict(self, outputs: th.Tensor) -> th.Tensor:
        """A network's outputs ``[B, P]`` as parameters of a distribution over what is possible in each state."""
        return outputs

    def unmasked(self) -> "PolicyInput":
        """The states without masks of actions, on which no value depends."""
        return self

    def draw(self, count: int) -> th.Tensor:
        """Rows of so many states, drawn at random without replacement."""
        return th.randperm(len(self))[:count]

    def chunks(self, size: int) -> list[slice]:
        """All rows in slices of so many."""
        return [slice(start, start + size) for start in range(0, len(self), size)]


PolicyInput: TypeAlias = PyTorchObs | States


def select(states: Any, rows: int | slice | th.Tensor) -> Any:
    """Rows of a batch, or one; a slice gives views, except where frames are kept once."""
    return map_parts(lambda part: part[rows], states)


def count(states: PolicyInput) -> int:
    """Rows of a batch."""
    return len(parts_of(states)[0])


def observations_of(states: PolicyInput) -> PyTorchObs:
    """What the networks see of a batch."""
    return states.observations if isinstance(states, States) else states


def distribution_of(policy: ActorCriticPolicy, states: PolicyInput) -> Distribution:
    """The policy's action distribution in each of B states."""
    return states.distribution(policy) if isinstance(states, States) else policy.get_distribution(states)


def values_of(policy: ActorCriticPolicy, states: PolicyInput) -> th.Tensor:
    """V of each of B states ``[B, 1]``, reward units."""
    return states.values(policy) if isinstance(states, States) else policy.predict_values(states)


def restricted(states: PolicyInput, outputs: th.Tensor) -> th.Tensor:
    """A network's outputs ``[B, P]`` as parameters of a distribution over what is possible in each state."""
    return states.restrict(outputs) if isinstance(states, States) else outputs


def unmasked(states: PolicyInput) -> PolicyInput:
    """A batch without masks of actions, on which no value depends."""
    return states.unmasked() if isinstance(states, States) else states


def draw(states: PolicyInput, rows: int) -> th.Tensor:
    """Rows of about so many states of a batch, drawn at random without replacement."""
    return states.draw(rows) if isinstance(states, States) else th.randperm(count(states))[:rows]


def chunks_of(states: PolicyInput, size: int) -> list[slice]:
    """All rows of a batch in slices of about so many."""
    if isinstance(states, States):
        return states.chunks(size)
    return [slice(start, start + size) for start in range(0, count(states), size)]


def zeros(policy: ActorCriticPolicy) -> th.Tensor | dict[str, th.Tensor]:
    """Two observations of nothing but zeros, where the policy takes them."""
    return obs_as_tensor(create_empty_array(policy.observation_space, n=2, fn=np.zeros), policy.device)  # type: ignore[arg-type]
