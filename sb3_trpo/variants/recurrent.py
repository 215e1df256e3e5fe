"""TRPO where an observation does not tell the state: policies with an LSTM."""

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, TypeVar

import torch as th
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.ppo_recurrent.policies import CnnLstmPolicy, MlpLstmPolicy, MultiInputLstmPolicy
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.policy import Memory, Sequences
from sb3_trpo.sampling import Evaluator, Samples
from sb3_trpo.sampling.masks import RolloutMasks
from sb3_trpo.trpo import TRPO
from sb3_trpo.variants.recurrent_evaluator import RecurrentEvaluator, sequences_of
from sb3_trpo.variants.refusals import check_lstms, refuse_own_buffer, refuse_vine

SelfRecurrentTRPO = TypeVar("SelfRecurrentTRPO", bound="RecurrentTRPO")


class RecurrentTRPO(TRPO):
    """
    TRPO with a memory: to :class:`~sb3_trpo.TRPO` what ``sb3_contrib.RecurrentPPO`` is to PPO.

    π_θ(a_t | h_t, s_t) with h_t computed through the steps of the episode since the rollout began, from the LSTM's state at
    that moment, which is a constant. Surrogate, KL divergence and Fisher matrix are means over the rollout's steps, and
    products with the Fisher matrix go through whole sequences, cut where episodes begin. So the bound is on
    the KL divergence of the policy given its history since then, from the states that the old policy had left.

    An LSTM's state is zero where an episode begins, and kept from one rollout to the next. A value at the end of a rollout,
    or after a time limit, is that of the state reached with what the critic's LSTM has reached. The critic is fitted on whole
    sequences: those longer than ``batch_size`` are a minibatch each, so that with long episodes a larger one is faster.

    Arguments are those of :class:`~sb3_trpo.TRPO`; ``fisher_sample_fraction`` and ``sub_sampling_factor`` draw whole
    sequences. Policies are sb3-contrib's (``"MlpLstmPolicy"``, ``"CnnLstmPolicy"``, ``"MultiInputLstmPolicy"``) with all their
    options, and subclasses that change networks but not what is done with them. ``predict`` takes and gives the actor's
    LSTM state, as there, and zip files of ``RecurrentPPO`` are read by ``set_parameters``.

    :raises ValueError: beside TRPO's, for ``sampling="vine"``, a policy that overrides sb3-contrib's methods, an LSTM that is
        bidirectional, projected or batch-first, or a rollout buffer of another kind
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLstmPolicy": MlpLstmPolicy,
        "CnnLstmPolicy": CnnLstmPolicy,
        "MultiInputLstmPolicy": MultiInputLstmPolicy,
    }
    policy_base: ClassVar[type[BasePolicy]] = RecurrentActorCriticPolicy
    extra_policy_inputs: ClassVar[Collection[str]] = ("lstm_states", "episode_starts")
    masking_class: ClassVar[str | None] = "MaskableRecurrentTRPO"
    carried: ClassVar[Sequence[str]] = ("_memory",)

    def _setup_model(self) -> None:
        self._path: RecurrentEvaluator | None = None
        refuse_vine(self)
        super()._setup_model()
        refuse_own_buffer(self.rollout_buffer)
        lstm: Any = self.policy.lstm_actor
        zeros = th.zeros(lstm.num_layers, self.n_envs, lstm.hidden_size, device=self.device, dtype=lstm.weight_hh_l0.dtype)
        self._memory = Memory((zeros, zeros), (zeros, zeros))

    def _make_networks(self) -> None:
        super()._make_networks()
        check_lstms(self.policy, self.policy_base)

    def _apply_changed_settings(self) -> None:
        super()._apply_changed_settings()
        refuse_vine(self)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_path", "_memory"]

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """
        Fill the buffer with a path and its advantages, from the LSTM states that the last one ended with.

        :param env: the training environments
        :param callback: called as SB3 calls it
        :param rollout_buffer: buffer to fill
        :param n_rollout_steps: env steps of each environment
        :return: whether the rollout was completed (a callback may stop it)
        """
        completed = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        assert self._path is not None
        self._memory = self._path.memory()
        return completed

    def _make_evaluator(self, buffer: RolloutBuffer, bootstrap_gamma: float) -> Evaluator:
        return self._follow_path(None, buffer, bootstrap_gamma)

    def _follow_path(self, masks: RolloutMasks | None, buffer: RolloutBuffer, bootstrap_gamma: float) -> Evaluator:
        starts: Any = self._last_episode_starts
        self._path = RecurrentEvaluator(self._memory, starts, masks, self.policy, buffer, self._last_obs, bootstrap_gamma)
        return self._path

    def _states_reached(self) -> Sequences:
        assert self._path is not None
        return self._path.states_reached(self._last_obs)  # type: ignore[arg-type]

    def _read_samples(self) -> Samples:
        return self._in_sequences(super()._read_samples())

    def _in_sequences(self, samples: Samples) -> Samples:
        """The samples of each sequence one after another."""
        assert self._path is not None
        sequences = sequences_of(self.rollout_buffer, samples.observations, self._path.begin)
        others = {field.name: getattr(samples, field.name)[sequences.steps] for field in fields(samples)[1:]}
        return replace(samples, observations=sequences, **others)

    def learn(
        self: SelfRecurrentTRPO,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "RecurrentTRPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfRecurrentTRPO:
        """
        Train for at least ``total_timesteps`` env steps; see :meth:`~sb3_trpo.TRPO.learn`.

        :return: the model
        """
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
