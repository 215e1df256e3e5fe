"""sb3-contrib's recurrent policies with masks of actions, which it has not together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch as th
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.type_aliases import Schedule

from sb3_trpo.policy import masked_distribution


class MaskableRecurrentActorCriticPolicy(RecurrentActorCriticPolicy):
    """A recurrent policy over the actions that are possible.

    Arguments are those of sb3-contrib's ``RecurrentActorCriticPolicy``. Methods take ``action_masks`` besides, which
    outcomes of each action component are possible ``[n_envs, P]``; None: all.
    """

    _masks: Any = None

    def _build(self, lr_schedule: Schedule) -> None:
        self.action_dist = masked_distribution(self.action_space)
        super()._build(lr_schedule)

    def forward(  # type: ignore[override]
        self,
        obs: th.Tensor,
        lstm_states: RNNStates,
        episode_starts: th.Tensor,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor, RNNStates]:
        """Act, one step in each environment.

        :param obs: ``[n_envs, …]``
        :param lstm_states: of both LSTMs before the step, hidden and cell ``[layers, n_envs, hidden size]`` each
        :param episode_starts: ``[n_envs]``, 1 where an episode begins: there the LSTMs are reset
        :param deterministic: whether to take the likeliest actions
        :param action_masks: which outcomes are possible ``[n_envs, P]``; None: all
        :return: actions ``[n_envs, …]``, values ``[n_envs, 1]``, log-probabilities ``[n_envs]``, and the LSTMs afterwards
        """
        with self._masked(action_masks):
            return super().forward(obs, lstm_states, episode_starts, deterministic)

    def get_distribution(  # type: ignore[override]
        self, obs: th.Tensor, lstm_states: Any, episode_starts: th.Tensor, action_masks: Any = None
    ) -> tuple[Distribution, tuple[th.Tensor, ...]]:
        """The action distribution of B states: sequences of equal length, one after another.

        :param obs: ``[B, …]``
        :param lstm_states: of the actor's LSTM before them, hidden and cell ``[layers, sequences, hidden size]``
        :param episode_starts: ``[B]``, 1 where an episode begins: there the LSTM is reset
        :param action_masks: which outcomes are possible ``[B, P]``; None: all
        :return: the distribution, and the LSTM's state afterwards
        """
        with self._masked(action_masks):
            return super().get_distribution(obs, lstm_states, episode_starts)

    def evaluate_actions(  # type: ignore[override]
        self, obs: th.Tensor, actions: th.Tensor, lstm_states: RNNStates, episode_starts: th.Tensor, action_masks: Any = None
    ) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """What the policy says of actions in B states: sequences of equal length, one after another.

        :param obs: ``[B, …]``
        :param actions: ``[B, …]``
        :param lstm_states: of both LSTMs before them, hidden and cell ``[layers, sequences, hidden size]`` each
        :param episode_starts: ``[B]``, 1 where an episode begins: there the LSTMs are reset
        :param action_masks: which outcomes are possible ``[B, P]``; None: all
        :return: values ``[B, 1]``, log-probabilities ``[B]`` and entropies ``[B]``, nats
        """
        with self._masked(action_masks):
            return super().evaluate_actions(obs, actions, lstm_states, episode_starts)

    def predict(  # type: ignore[override]
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Act outside of training.

        :param observation: of one environment, or of several ``[n, …]``
        :param state: what this method returned before; None at first
        :param episode_start: ``[n]``, whether an episode begins: there the LSTM is reset; None: nowhere
        :param deterministic: whether to take the likeliest actions
        :param action_masks: which outcomes are possible ``[n, P]``; None: all
        :return: actions, and the actor's LSTM's state afterwards
        """
        with self._masked(action_masks):
            return super().predict(observation, state, episode_start, deterministic)

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Distribution:
        distribution = super()._get_action_dist_from_latent(latent_pi)
        if self._masks is not None:
            distribution.apply_masking(self._masks)  # type: ignore[attr-defined]
        return distribution

    @contextmanager
    def _masked(self, masks: Any) -> Iterator[None]:
        """Let distributions made in here be those over what the masks leave; None: what masks farther out leave."""
        kept = self._masks
        self._masks = kept if masks is None else masks
        try:
            yield
        finally:
            self._masks = kept


class MaskableRecurrentActorCriticCnnPolicy(MaskableRecurrentActorCriticPolicy):
    """The same for images, with ``NatureCNN``."""

    def __init__(self, *args: Any, features_extractor_class: Any = NatureCNN, **kwargs: Any):
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)  # type: ignore[misc]


class MaskableRecurrentMultiInputActorCriticPolicy(MaskableRecurrentActorCriticPolicy):
    """The same for ``Dict`` observations, with ``CombinedExtractor``."""

    def __init__(self, *args: Any, features_extractor_class: Any = CombinedExtractor, **kwargs: Any):
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)  # type: ignore[misc]
