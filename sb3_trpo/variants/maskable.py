"""TRPO where some actions are impossible in some states."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.maskable.utils import is_masking_supported
from sb3_contrib.ppo_mask.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.checks import check_flag
from sb3_trpo.discrete import MASKS, action_dims
from sb3_trpo.policy import MaskedStates, masked_distribution, register_policy
from sb3_trpo.policy.masks import MaskedCategorical, MaskedMultiCategorical
from sb3_trpo.sampling import Evaluator, Sampler, Samples, Vine
from sb3_trpo.sampling.masks import RolloutMasks, read_masks
from sb3_trpo.trpo import TRPO
from sb3_trpo.variants.masked_evaluators import make_masked_evaluator
from sb3_trpo.variants.refusals import WITHOUT_MASKS, refuse_own_buffer, refuse_own_distribution

SelfMaskableTRPO = TypeVar("SelfMaskableTRPO", bound="MaskableTRPO")

register_policy(MaskableActorCriticPolicy, MaskedCategorical, MaskedMultiCategorical)


class MaskableTRPO(TRPO):
    """
    TRPO with invalid action masking: to :class:`~sb3_trpo.TRPO` what ``sb3_contrib.MaskablePPO`` is to PPO.

    The policy is a distribution over the possible actions of a state, and so are surrogate, KL divergence, Fisher matrix and
    entropy: an impossible action is never taken and has no part in any of them. Where all are possible in all states, the run
    is that of TRPO, bit for bit (for ``MultiBinary``, where sb3-contrib's policies have two logits a bit, that of TRPO on
    ``MultiDiscrete([2, 2, …])``).

    Masks come from the environment's method ``action_masks()``, or from sb3-contrib's wrapper ``ActionMasker``: a truth value
    for each outcome of each action component, side by side. ``predict`` takes them as ``action_masks``; to evaluate, use
    sb3-contrib's ``evaluate_policy`` and ``MaskableEvalCallback``.

    Arguments are those of :class:`~sb3_trpo.TRPO`; policies are sb3-contrib's (``"MlpPolicy"``, ``"CnnPolicy"``,
    ``"MultiInputPolicy"``, or a subclass of ``MaskableActorCriticPolicy``). ``set_parameters`` reads a zip file of
    ``MaskablePPO``, whose ``load`` and ``set_parameters`` read one of ours. Action spaces: ``Discrete``, ``MultiDiscrete``,
    ``MultiBinary``.

    The vine tries only possible actions: all of them, or some that it draws from them.

    :raises ValueError: beside TRPO's, for another action space, a rollout buffer of another kind, or a policy with a
        distribution of its own
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy_base: ClassVar[type[BasePolicy]] = MaskableActorCriticPolicy
    extra_policy_inputs: ClassVar[Collection[str]] = (MASKS,)
    masking_class: ClassVar[str | None] = None

    def _setup_model(self) -> None:
        self._use_masking = True
        self._masks: RolloutMasks | None = None
        self._env_with_masks: VecEnv | None = None
        if self.rollout_buffer_class in (MaskableRolloutBuffer, MaskableDictRolloutBuffer):
            self.rollout_buffer_class = None  # masks are kept beside the buffer
        action_dims(self.action_space)  # refuses others
        super()._setup_model()
        refuse_own_buffer(self.rollout_buffer)

    def _make_networks(self) -> None:
        """Without ``use_sde``, which these policies do not take."""
        kind = self.policy_class
        self.policy_class = lambda *args, use_sde, **kwargs: kind(*args, **kwargs)  # type: ignore[assignment, misc]
        try:
            super()._make_networks()
        finally:
            self.policy_class = kind
        refuse_own_distribution(self.policy)
        self.policy.action_dist = masked_distribution(self.action_space)

    def _excluded_save_params(self) -> list[str]:
        unsaved = [*super()._excluded_save_params(), "_masks", "_use_masking", "_env_with_masks"]
        if self.rollout_buffer_class in (RolloutBuffer, DictRolloutBuffer):
            unsaved.append("rollout_buffer_class")  # MaskablePPO needs another kind
        return unsaved

    def _make_evaluator(self, buffer: RolloutBuffer, bootstrap_gamma: float) -> Evaluator:
        self._masks = self._ask_for_masks()
        if self._masks is None:
            return super()._make_evaluator(buffer, bootstrap_gamma)
        return make_masked_evaluator(self._masks, self.policy, buffer, self._last_obs, bootstrap_gamma)  # type: ignore[arg-type]

    def _make_sampler(self, env: VecEnv) -> Sampler:
        if self._use_masking and self.sampling == "vine":  # else a copy of the environment would be said to fail
            read_masks(
                env.env_method(MASKS), action_dims(self.action_space), lambda index: f"{MASKS}() of environment {index}"
            )
        sampler = super()._make_sampler(env)
        if isinstance(sampler, Vine):
            sampler.masks = lambda: self._masks
        return sampler

    def _ask_for_masks(self) -> RolloutMasks | None:
        """Where the masks of a rollout will be; None if all actions are taken for possible."""
        if not self._use_masking:
            return None
        assert self.env is not None
        return RolloutMasks(self.env, action_dims(self.action_space), self.n_steps)

    def _read_samples(self) -> Samples:
        return self._with_masks(super()._read_samples())

    def _with_masks(self, samples: Samples) -> Samples:
        """The samples, each with what was possible there."""
        if self._masks is None:
            return samples
        masks = self._masks.tensor(slice(None), self.device, self.rollout_buffer.generator_ready)
        return replace(samples, observations=MaskedStates(samples.observations, masks))  # type: ignore[arg-type]

    def predict(  # type: ignore[override]
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Actions for observations.

        :param observation: of one environment or of several
        :param state: not used
        :param episode_start: not used
        :param deterministic: whether to take the likeliest possible action
        :param action_masks: which outcomes are possible ``[n_envs, P]``; None: all
        :return: actions, and the state as it was given
        :raises ValueError: for a mask of another size, or one that leaves a component of the action without an outcome
        """
        if action_masks is not None:
            masks, sizes = np.asarray(action_masks), action_dims(self.action_space)
            rows = masks.reshape(-1, sum(sizes)) if masks.size % sum(sizes) == 0 else masks[None]
            read_masks(rows, sizes, lambda index: f"{MASKS} for observation {index}")  # type: ignore[arg-type]
        return self.policy.predict(observation, state, episode_start, deterministic, action_masks=action_masks)  # type: ignore[call-arg]

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        if self._use_masking and self.env is not self._env_with_masks:  # asked once: worker processes may have ended since
            if self.env is not None and not is_masking_supported(self.env):
                raise ValueError(WITHOUT_MASKS.format("call learn(..., use_masking=False)"))
            self._env_with_masks = self.env
        return super()._setup_learn(*args, **kwargs)

    def learn(  # type: ignore[override]
        self: SelfMaskableTRPO,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "MaskableTRPO",
        reset_num_timesteps: bool = True,
        use_masking: bool = True,
        progress_bar: bool = False,
    ) -> SelfMaskableTRPO:
        """
        Train for at least ``total_timesteps`` env steps, in whole rollouts of ``n_steps`` for each environment.

        :param total_timesteps: env steps, over all environments
        :param callback: called at every step
        :param log_interval: rollouts between two logs
        :param tb_log_name: name of the TensorBoard run
        :param reset_num_timesteps: False to go on counting from an earlier call
        :param use_masking: False to take all actions for possible
        :param progress_bar: show one (needs ``tqdm`` and ``rich``)
        :return: the model
        :raises TypeError: if ``use_masking`` is no truth value
        :raises ValueError: if the environment has no masks, or a mask is of another size or leaves no action
        """
        check_flag("use_masking", use_masking)
        self._use_masking = use_masking
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
