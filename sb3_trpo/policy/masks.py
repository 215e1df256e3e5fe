"""Which actions are possible: masks as a part of the states, and SB3's discrete distributions over what they leave.

The logit of an impossible action is so low that its probability is exactly 0. So it has no part in the KL divergence, in the
Fisher matrix diag(p) − p pᵀ, in the entropy, and no gradient reaches its logit.
"""

from dataclasses import dataclass
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    Distribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch.distributions import Categorical

from sb3_trpo.discrete import action_dims
from sb3_trpo.policy.observations import States, select

IMPOSSIBLE = -1e8  # a logit; finite, because ∞ − ∞ and 0 · ∞ are not numbers


@dataclass(frozen=True)
class MaskedStates(States):
    """States with the actions that are possible in each.

    :param observations: ``[B, …]``, or a dict of such, or what ``select`` makes such of
    :param masks: True where an outcome is possible ``[B, P]``, the outcomes of all action components side by side
    """

    observations: PyTorchObs
    masks: th.Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: slice | th.Tensor) -> "MaskedStates":
        return MaskedStates(select(self.observations, rows), self.masks[rows])

    def distribution(self, policy: ActorCriticPolicy) -> Distribution:
        return policy.get_distribution(self.observations, action_masks=self.masks)  # type: ignore[call-arg]

    def values(self, policy: ActorCriticPolicy) -> th.Tensor:
        return policy.predict_values(self.observations)

    def unmasked(self) -> PyTorchObs:
        return self.observations

    def restrict(self, outputs: th.Tensor) -> th.Tensor:
        return possible(outputs, self.masks)


def possible(logits: th.Tensor, masks: th.Tensor) -> th.Tensor:
    """Logits ``[B, P]`` with those of impossible outcomes replaced; the others are left bit for bit."""
    return th.where(masks, logits, logits.new_tensor(IMPOSSIBLE))


class _Masking:
    """Applies masks to the logits that a distribution was made of, before they are normalised.

    The others' bits do not depend on whether there was a mask, so that a run in which all is possible is the one without.
    """

    _logits: th.Tensor

    def proba_distribution(self, action_logits: th.Tensor) -> Any:
        self._logits = action_logits
        return super().proba_distribution(action_logits)  # type: ignore[misc]

    def apply_masking(self, masks: Any) -> None:
        """Leave what a mask of the shape of the logits, or one that can be brought into it, calls possible; None: all."""
        logits = self._logits
        if masks is not None:
            logits = possible(logits, th.as_tensor(masks, dtype=th.bool, device=logits.device).reshape(logits.shape))
        super().proba_distribution(logits)  # type: ignore[misc]


class MaskedCategorical(_Masking, CategoricalDistribution):
    """SB3's distribution of one discrete action, over the possible ones."""


class MaskedMultiCategorical(_Masking, MultiCategoricalDistribution):
    """SB3's distribution of several discrete actions, over the possible ones.

    :param action_dims: outcomes of each
    """

    @property
    def distributions(self) -> list[Categorical]:
        """One of each action component, under sb3-contrib's name."""
        return self.distribution


def masked_distribution(space: spaces.Space) -> Distribution:
    """A distribution over possible actions.

    :param space: of the actions
    :raises ValueError: if it is not discrete
    """
    sizes = action_dims(space)
    return MaskedCategorical(sizes[0]) if isinstance(space, spaces.Discrete) else MaskedMultiCategorical(list(sizes))
