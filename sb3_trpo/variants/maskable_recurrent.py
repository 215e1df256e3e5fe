"""TRPO with masks of actions and with memory."""

from typing import ClassVar

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import BasePolicy

from sb3_trpo.sampling import Evaluator, Samples
from sb3_trpo.trpo import TRPO
from sb3_trpo.variants.maskable import MaskableTRPO
from sb3_trpo.variants.policies import (
    MaskableRecurrentActorCriticCnnPolicy,
    MaskableRecurrentActorCriticPolicy,
    MaskableRecurrentMultiInputActorCriticPolicy,
)
from sb3_trpo.variants.recurrent import RecurrentTRPO


class MaskableRecurrentTRPO(MaskableTRPO, RecurrentTRPO):  # type: ignore[misc]
    """
    Both at once: the masks of :class:`~sb3_trpo.MaskableTRPO` and the memory of :class:`~sb3_trpo.RecurrentTRPO`.

    Policies are ``"MlpLstmPolicy"``, ``"CnnLstmPolicy"`` and ``"MultiInputLstmPolicy"`` with the options of sb3-contrib's, or
    subclasses of :class:`~sb3_trpo.variants.MaskableRecurrentActorCriticPolicy`. ``predict`` takes ``state``,
    ``episode_start`` and ``action_masks``. sb3-contrib's evaluation with masks forgets the state after every step: use
    :func:`sb3_trpo.variants.evaluate_policy` and :class:`sb3_trpo.variants.MaskableEvalCallback`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLstmPolicy": MaskableRecurrentActorCriticPolicy,
        "CnnLstmPolicy": MaskableRecurrentActorCriticCnnPolicy,
        "MultiInputLstmPolicy": MaskableRecurrentMultiInputActorCriticPolicy,
    }
    policy_base = MaskableRecurrentActorCriticPolicy
    beside_observations = (*MaskableTRPO.beside_observations, *RecurrentTRPO.beside_observations)

    def _make_networks(self) -> None:
        RecurrentTRPO._make_networks(self)

    def _make_evaluator(self, buffer: RolloutBuffer, bootstrap_gamma: float) -> Evaluator:
        self._masks = self._ask_for_masks()
        return self._follow_path(self._masks, buffer, bootstrap_gamma)

    def _read_samples(self) -> Samples:
        return self._in_sequences(self._with_masks(TRPO._read_samples(self)))
