"""TRPO with masks of actions and with memory."""

from typing import ClassVar, TypeVar

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_trpo.sampling import Evaluator, Samples
from sb3_trpo.trpo import TRPO
from sb3_trpo.variants.maskable import MaskableTRPO
from sb3_trpo.variants.policies import (
    MaskableRecurrentActorCriticCnnPolicy,
    MaskableRecurrentActorCriticPolicy,
    MaskableRecurrentMultiInputActorCriticPolicy,
)
from sb3_trpo.variants.recurrent import RecurrentTRPO

SelfMaskableRecurrentTRPO = TypeVar("SelfMaskableRecurrentTRPO", bound="MaskableRecurrentTRPO")


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
    extra_policy_inputs = (*MaskableTRPO.extra_policy_inputs, *RecurrentTRPO.extra_policy_inputs)

    def learn(  # type: ignore[override]
        self: SelfMaskableRecurrentTRPO,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "MaskableRecurrentTRPO",
        reset_num_timesteps: bool = True,
        use_masking: bool = True,
        progress_bar: bool = False,
    ) -> SelfMaskableRecurrentTRPO:
        """
        Train for at least ``total_timesteps`` env steps; see :meth:`~sb3_trpo.MaskableTRPO.learn`.

        :return: the model
        """
        arguments = (callback, log_interval, tb_log_name, reset_num_timesteps, use_masking, progress_bar)
        return super().learn(total_timesteps, *arguments)

    def _make_networks(self) -> None:
        RecurrentTRPO._make_networks(self)

    def _make_evaluator(self, buffer: RolloutBuffer, bootstrap_gamma: float) -> Evaluator:
        self._masks = self._ask_for_masks()
        return self._follow_path(self._masks, buffer, bootstrap_gamma)

    def _read_samples(self) -> Samples:
        return self._in_sequences(self._with_masks(TRPO._read_samples(self)))
