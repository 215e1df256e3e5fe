"""Trust Region Policy Optimization as an SB3 algorithm."""

from collections.abc import Collection
from inspect import signature
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.ppo import CnnPolicy, MlpPolicy, MultiInputPolicy

from sb3_trpo.arguments import reject_unknown_arguments
from sb3_trpo.atari import PaperCnnPolicy
from sb3_trpo.critic import fit_critic
from sb3_trpo.diagnostics import critic_diagnostics, step_diagnostics
from sb3_trpo.interruption import keeps_policy_whole, undisturbed
from sb3_trpo.loading import CheckedLoad
from sb3_trpo.policy import Actor
from sb3_trpo.sampling import Batch
from sb3_trpo.sampling.algorithm import SKIPPED, SamplingAlgorithm
from sb3_trpo.schedules import present_value, present_values
from sb3_trpo.settings import (
    KeptSettings,
    check_action_space,
    check_settings,
    warn_of_action_masks,
    warn_of_truncated_minibatches,
)
from sb3_trpo.trust_region import Status
from sb3_trpo.update import PolicyObjective, Step, StepOptions, find_disagreement, policy_step

SelfTRPO = TypeVar("SelfTRPO", bound="TRPO")


class TRPO(CheckedLoad, SamplingAlgorithm):
    """
    Trust Region Policy Optimization (Schulman et al. 2015, https://arxiv.org/abs/1502.05477).

    Every iteration maximises the surrogate L(θ) = E[π_θ(a|s)/π_θ₀(a|s) Â] (+ an entropy bonus) subject to
    E[KL(π_θ₀ ‖ π_θ)] ≤ δ: conjugate gradient on Fisher-vector products gives the direction, the quadratic model its
    length, and a line search accepts a step only if the measured KL is at most δ and L has improved. Otherwise the
    policy stays bit for bit as it was, and ``model.last_update["train/status"]`` says why; the log has its
    :class:`~sb3_trpo.trust_region.Status`'s code.

    Started by torchrun, the processes learn as one with all their environments; ``n_steps`` is each environment's,
    ``batch_size``, ``num_timesteps`` and ``learn``'s budget are global.

    Arguments, defaults and saved attributes are those of ``sb3_contrib.TRPO``, and zip files move both ways. One
    argument has the paper's meaning here: ``target_kl`` bounds the KL divergence of the joint action distribution,
    old policy first, where sb3-contrib averages it over action dimensions. Settings tuned there, for a ``Box`` or
    ``MultiBinary`` space of d dimensions, give the same proposed step with ``target_kl`` and ``cg_damping`` times d.

    :param policy: the policy (``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, the paper's ``"PaperCnnPolicy"`` for
        Atari, or a class)
    :param env: the environment, or its registered id
    :param learning_rate: of the critic's optimizer, ≥ 0; may be a function of the remaining progress, from 1 to 0
    :param n_steps: env steps of each environment per update, ≥ 1
    :param batch_size: minibatch of the critic, ≥ 1
    :param gamma: discount factor γ in [0, 1]
    :param cg_max_steps: most conjugate-gradient iterations, ≥ 1
    :param cg_damping: λ ≥ 0 added to the Fisher matrix's diagonal; in nats, like the KL it belongs to
    :param line_search_shrinking_factor: in (0, 1); the i-th candidate is θ₀ + factor^i times the full step
    :param line_search_max_iter: most candidates, ≥ 1
    :param n_critic_updates: the critic's passes over the rollout per update, ≥ 0
    :param gae_lambda: λ of generalised advantage estimation, in [0, 1]
    :param use_sde: gSDE exploration (``Box`` actions only)
    :param sde_sample_freq: env steps between two of gSDE's noise matrices; -1: one a rollout
    :param rollout_buffer_class: rollout buffer class; SB3's if None, or :class:`sb3_trpo.sampling.FrameStackBuffer` where
        SB3's ``VecFrameStack`` stacks grey frames
    :param rollout_buffer_kwargs: further arguments of the rollout buffer
    :param normalize_advantage: whether to standardise advantages over the batch
    :param target_kl: δ > 0, nats. ``target_kl``, ``cg_damping`` and ``ent_coef`` may be functions of the remaining progress,
        like ``learning_rate``; where δ has fallen to 0, the policy stays as it is
    :param sub_sampling_factor: use a random 1/n of the rollout in the policy's update, KL bound included, n ≥ 1
    :param stats_window_size: episodes in the logged means, ≥ 1
    :param tensorboard_log: TensorBoard's folder, None for no log
    :param policy_kwargs: further arguments of the policy
    :param verbose: 0 no output, 1 info, 2 debug
    :param seed: of all random generators; the same seed gives the same run
    :param device: of the networks; "auto" takes a GPU where there is one
    :param _init_setup_model: whether to build the networks at once
    :param ent_coef: weight of the mean entropy (nats) in the surrogate; any finite number, 0 for none
    :param advantage_estimator: ``"gae"``, or ``"monte_carlo"`` for discounted returns minus their mean, which never
        touch the critic; a trajectory cut by a time limit or the rollout's end is closed as if nothing came after
    :param fisher_sample_fraction: share of the states, in (0, 1], drawn at random in every update for the Fisher-vector
        products alone; the paper takes 0.1. Gradient, step size and line search use all states
    :param sampling: ``"single_path"``, or ``"vine"`` to branch from saved simulator states (paper, section 5.2)
    :param vine_kwargs: options of the vine, see :class:`sb3_trpo.sampling.VineSettings`: ``n_states``,
        ``branches_per_state``, ``branch_length``, ``bootstrap``, ``common_random_numbers``, ``n_workers``
    :param unknown: not accepted; arguments of other algorithms are refused with the name of their counterpart
    :raises ValueError: for a value or a space out of range, or a policy of another kind
    :raises TypeError: for a value of the wrong type or an unknown argument
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
        "PaperCnnPolicy": PaperCnnPolicy,
    }
    policy_base: ClassVar[type[BasePolicy]] = ActorCriticPolicy  # what every policy is derived from
    extra_policy_inputs: ClassVar[Collection[str]] = ()  # what the policy takes beside observations, by name
    masking_class: ClassVar[str | None] = "MaskableTRPO"  # where masks are used, if not here

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 2048,
        batch_size: int = 128,
        gamma: float = 0.99,
        cg_max_steps: int = 15,
        cg_damping: float | Schedule = 0.1,
        line_search_shrinking_factor: float = 0.8,
        line_search_max_iter: int = 10,
        n_critic_updates: int = 10,
        gae_lambda: float = 0.95,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        normalize_advantage: bool = True,
        target_kl: float | Schedule = 0.01,
        sub_sampling_factor: int = 1,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        ent_coef: float | Schedule = 0.0,
        advantage_estimator: str = "gae",
        fisher_sample_fraction: float = 1.0,
        sampling: str = "single_path",
        vine_kwargs: dict[str, Any] | None = None,
        **unknown: Any,
    ):
        reject_unknown_arguments(unknown, signature(TRPO).parameters)
        env = maybe_make_env(env, verbose)
        if env is not None:
            check_action_space(env)
        elif _init_setup_model:
            raise ValueError(
                "env=None: give an environment or its registered id. TRPO.load(path) needs none, until it learns."
            )
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,  # type: ignore[arg-type]
            vf_coef=0.0,
            max_grad_norm=0.0,
            use_sde=use_sde,
            sde_sample_freq=sde_sample_freq,
            rollout_buffer_class=rollout_buffer_class,
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            device=device,
            seed=seed,
            _init_setup_model=False,
        )
        self.batch_size = batch_size
        self.cg_max_steps = cg_max_steps
        self.cg_damping = cg_damping
        self.line_search_shrinking_factor = line_search_shrinking_factor
        self.line_search_max_iter = line_search_max_iter
        self.n_critic_updates = n_critic_updates
        self.normalize_advantage = normalize_advantage
        self.target_kl = target_kl
        self.sub_sampling_factor = sub_sampling_factor
        self.advantage_estimator = advantage_estimator
        self.fisher_sample_fraction = fisher_sample_fraction
        self.sampling = sampling
        self.vine_kwargs = vine_kwargs
        if _init_setup_model:
            self._setup_model()
            warn_of_truncated_minibatches(vars(self))

    def _setup_model(self) -> None:
        check_settings(self)  # here and not above, for `load` sets attributes of its own
        self._left_out: frozenset[str] = frozenset()
        self._prepare_ranks()
        self._prepare_sampling()
        with th.inference_mode(False):  # tensors made in it cannot be trained
            self._make_networks()
        self._kept = KeptSettings(self)
        warn_of_action_masks(self.env, self.masking_class)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            elsewhere = ". Policies with memory are those of sb3_trpo.RecurrentTRPO" if "Lstm" in policy_name else ""
            known = ", ".join(self.policy_aliases)
            raise ValueError(f"policy={policy_name!r} is unknown: use one of {known}, or a class{elsewhere}.")
        return super()._get_policy_from_name(policy_name)

    def _apply_changed_settings(self) -> None:
        self._kept.apply_changes(self)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """
        Train in other environments.

        :param env: with the same spaces, and as many as before
        :param force_reset: whether to reset them before training
        """
        super().set_env(env, force_reset)
        warn_of_action_masks(self.env, self.masking_class)

    def _excluded_save_params(self) -> list[str]:
        own = ["_left_out", "_kept", *self._unsaved_of_ranks(), *self._unsaved_of_sampling()]
        return [*super()._excluded_save_params(), *own]

    @th.inference_mode(False)
    @th.enable_grad()
    @keeps_policy_whole
    def train(self) -> None:
        """One update from the rollout buffer alone (paper, section 6 and appendix C): the policy's step, then the critic."""
        self._apply_changed_settings()
        self._update_learning_rate(self.policy.optimizer)
        self._n_updates, self.last_update = self._n_updates + 1, {}
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if not self._rollout_is_finite():
            return

        self.policy.set_training_mode(False)  # θ₀ must be at distance 0 from itself, whatever dropout or batch norm there is
        samples = self._read_samples()
        batch = Batch.from_samples(samples, self.sub_sampling_factor, self.normalize_advantage, self._ranks)
        actor = Actor(self.policy, batch.observations, self._ranks)
        surrogate = self._experience.surrogate(batch, self.normalize_advantage, self._ranks)
        objective = PolicyObjective(actor, batch, surrogate, present_value(self, "ent_coef"), self._ranks)
        self._warn_of_the_actor(actor, objective)
        step = self._find_step(objective)
        if step.status is Status.OK:
            actor.assign(step.search.theta)
        self._record_update({**present_values(self), **step_diagnostics(self.policy, batch, step, self.gamma, self._ranks)})
        if step.status is Status.NOT_FINITE:
            self._warn_once("gradient", f"{SKIPPED}: the policy's objective is not finite. {step.status.remedy}")
            return

        fit = fit_critic(actor, samples, self.n_critic_updates, self.batch_size, self._ranks, self._left_out)
        self._record_update(critic_diagnostics(fit, self.rollout_buffer, self._ranks))
        for warning in fit.warnings(self._left_out):
            self._warn_once(warning, warning)
        self._left_out = fit.left_out
        self._check_parameters()

    def _find_step(self, objective: PolicyObjective) -> Step:
        """The policy's step; what subclasses with another update replace."""
        return policy_step(objective, StepOptions.of(self), self._ranks)

    def _warn_of_the_actor(self, actor: Actor, objective: PolicyObjective) -> None:
        if actor.batch_warning is not None:
            self._warn_once("statistics", actor.batch_warning)
            return
        for disagreement in filter(None, self._ranks.gather(find_disagreement(actor, objective, self._acted_with))):
            self._warn_once(disagreement, disagreement)

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        """SB3's; but the last rollout goes beyond the budget, and a falling schedule must not give a negative rate there."""
        super()._update_current_progress_remaining(min(num_timesteps, total_timesteps), total_timesteps)

    def learn(
        self: SelfTRPO,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "TRPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfTRPO:
        """
        Train for at least ``total_timesteps`` env steps, in whole rollouts of ``n_steps`` for each environment.

        :param total_timesteps: env steps, over all environments
        :param callback: called at every step
        :param log_interval: rollouts between two logs
        :param tb_log_name: name of the TensorBoard run
        :param reset_num_timesteps: False to go on counting from an earlier call
        :param progress_bar: show one (needs ``tqdm`` and ``rich``)
        :return: the model
        """
        self._apply_changed_settings()
        try:
            with undisturbed(self.env), th.inference_mode(False), th.enable_grad():
                return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
        except BaseException:
            self._last_obs = None  # the environments may stand in the middle of a step: the next call resets them
            raise
