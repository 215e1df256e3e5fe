"""Trust Region Policy Optimization as an SB3 algorithm."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.atari import PaperCnnPolicy
from sb3_trpo.callbacks import advance_progress_bars
from sb3_trpo.critic import fit_critic
from sb3_trpo.diagnostics import critic_diagnostics, step_diagnostics, vine_diagnostics
from sb3_trpo.distributed import DataParallelAlgorithm
from sb3_trpo.objective import Batch, SinglePathObjective
from sb3_trpo.policies import Actor, CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_trpo.rollouts import (
    FrameStackBuffer,
    Samples,
    Trunk,
    Vine,
    VineBatch,
    VineSettings,
    check_running_statistics,
    estimate_advantages,
    find_defect,
    make_evaluator,
    shallow_copies,
    single_path,
    stacks_grey_frames,
)
from sb3_trpo.settings import (
    check_action_space,
    check_rollout_length,
    check_settings,
    reject_unknown_arguments,
    warn_of_truncated_minibatches,
)
from sb3_trpo.trust_region import (
    Status,
    backtracking_line_search,
    conjugate_gradient,
    full_step,
)
from sb3_trpo.vine_objective import VineObjective

LARGEST_RATIO_ERROR = 0.01
DISAGREEMENT = (
    "The policy's log-probabilities differ from those in the rollout by more than 1 % before any step: what acts (forward) "
    "and what is optimised (get_distribution) are not the same distribution. A policy that overrides forward or "
    "extract_features must override get_distribution too."
)
RUNNING_STATISTICS = (
    "The actor has batch normalisation. Its running statistics stay what they are, at first a mean of 0 and a variance of 1: "
    "if they moved, the policy would, outside the trust region. Use VecNormalize or layer normalisation instead."
)
SKIPPED = "The update was skipped and the networks left as they were"

SelfTRPO = TypeVar("SelfTRPO", bound="TRPO")


class TRPO(DataParallelAlgorithm):
    """
    Trust Region Policy Optimization (Schulman et al. 2015, https://arxiv.org/abs/1502.05477).

    Every iteration maximises the surrogate L(θ) = E[π_θ(a|s)/π_θ₀(a|s) Â] (+ an entropy bonus) subject to
    E[KL(π_θ₀ ‖ π_θ)] ≤ δ: conjugate gradient on Fisher-vector products gives the direction, the quadratic model its
    length, and a line search accepts a step only if the measured KL is at most δ and L has improved. Otherwise the
    policy stays bit for bit as it was, and ``train/status`` says why.

    Started by torchrun, the processes learn as one with all their environments; ``n_steps`` is each environment's,
    ``batch_size``, ``num_timesteps`` and ``learn``'s budget are everybody's.

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
    :param rollout_buffer_class: rollout buffer class; SB3's if None, or :class:`sb3_trpo.rollouts.FrameStackBuffer` where
        SB3's ``VecFrameStack`` stacks grey frames
    :param rollout_buffer_kwargs: further arguments of the rollout buffer
    :param normalize_advantage: whether to standardise advantages over the batch
    :param target_kl: δ > 0, nats
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
    :param vine_kwargs: options of the vine, see :class:`sb3_trpo.rollouts.VineSettings`: ``n_states``,
        ``branches_per_state``, ``branch_length``, ``bootstrap``, ``common_random_numbers``, ``n_workers``
    :param unknown: not accepted; arguments of other algorithms are refused with the name of their counterpart
    :raises ValueError: for a value or a space out of range
    :raises TypeError: for a value of the wrong type or an unknown argument
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
        "PaperCnnPolicy": PaperCnnPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_steps: int = 2048,
        batch_size: int = 128,
        gamma: float = 0.99,
        cg_max_steps: int = 15,
        cg_damping: float = 0.1,
        line_search_shrinking_factor: float = 0.8,
        line_search_max_iter: int = 10,
        n_critic_updates: int = 10,
        gae_lambda: float = 0.95,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        rollout_buffer_class: type[RolloutBuffer] | None = None,
        rollout_buffer_kwargs: dict[str, Any] | None = None,
        normalize_advantage: bool = True,
        target_kl: float = 0.01,
        sub_sampling_factor: int = 1,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        ent_coef: float = 0.0,
        advantage_estimator: str = "gae",
        fisher_sample_fraction: float = 1.0,
        sampling: str = "single_path",
        vine_kwargs: dict[str, Any] | None = None,
        **unknown: Any,
    ):
        reject_unknown_arguments(unknown)
        env = maybe_make_env(env, verbose)
        if env is not None:
            check_action_space(env)
        super().__init__(
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
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
        check_settings(vars(self))  # here and not above, for `load` sets attributes of its own
        self._warned: set[str] = set()
        self._vine: Vine | None = None
        self._vine_batch: VineBatch | None = None
        if self.rollout_buffer_class is None and stacks_grey_frames(self.env, self.observation_space):
            self.rollout_buffer_class = FrameStackBuffer
        super()._setup_model()

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed all random generators, on every rank differently.

        :param seed: rank 0's; the others' follow from it
        """
        super().set_random_seed(seed)
        self._vine_seed = np.random.SeedSequence(self._own_seed(seed)).generate_state(1)[0]

    def _excluded_save_params(self) -> list[str]:
        excluded = [*super()._excluded_save_params(), "_warned", "_vine", "_vine_batch"]
        chosen = self.rollout_buffer_class is FrameStackBuffer and not self.rollout_buffer_kwargs
        if chosen and stacks_grey_frames(self.env, self.observation_space):
            excluded.append("rollout_buffer_class")  # whoever loads the file chooses anew, with or without this package
        return excluded

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """
        Fill the buffer with single-path experience and its advantages; with a vine, then branch from some of its states.

        :param env: the training environments
        :param callback: called as SB3 calls it; its locals hold the step, but ``obs_tensor``, ``values`` and ``log_probs``
            only where these are computed step by step; at the end of the rollout ``values`` are those after the last step
        :param rollout_buffer: buffer to fill
        :param n_rollout_steps: env steps of each environment
        :return: whether the rollout was completed (a callback may stop it)
        :raises ValueError: if the buffer was made for another number of steps
        """
        assert self._last_obs is not None and self._last_episode_starts is not None, "No previous observation was provided"
        check_rollout_length(n_rollout_steps, rollout_buffer)
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        self._vine_batch = None
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()

        bootstrap_gamma = self.gamma if self.advantage_estimator == "gae" else 0.0
        evaluator = make_evaluator(self.policy, rollout_buffer, n_rollout_steps, env.num_envs, bootstrap_gamma)
        path = single_path(self.policy, evaluator, env, self._last_obs, n_rollout_steps, self.sde_sample_freq)
        vine = self._vine_for(env) if self.sampling == "vine" else None
        if vine is not None:
            rng = np.random.default_rng([self._vine_seed, self._n_updates, self.num_timesteps])
            trunk = vine.trunk(n_rollout_steps, rng)
            path = trunk.watch(path)
        callback.update_locals(locals())
        begin, completed = self.num_timesteps, True
        with shallow_copies(env):
            for n_steps, step in enumerate(path):
                self.num_timesteps += env.num_envs * self._ranks.size
                callback.update_locals({**vars(step), **evaluator.locals(), "n_steps": n_steps})
                if not callback.on_step():
                    completed = False
                    break
                self._update_info_buffer(step.infos, step.dones)
                evaluator.record(step, self._last_episode_starts)
                self._last_obs, self._last_episode_starts = step.new_obs, step.dones
        if not self._meet(completed, begin, callback):
            return False
        evaluator.finish()

        values = estimate_advantages(
            rollout_buffer,
            self.policy,
            self._last_obs,
            self._last_episode_starts,
            self.advantage_estimator,
            self._ranks.mean,
        )
        if vine is not None:
            self._grow_branches(vine, trunk, rng, callback)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _grow_branches(self, vine: Vine, trunk: Trunk, rng: np.random.Generator, callback: BaseCallback) -> None:
        """Branch from the states that the rollout has passed; the steps count like any others."""
        try:
            batch = vine.grow(self.policy, self.rollout_buffer, trunk, rng, self.gamma, self.sde_sample_freq)
        except BaseException:  # an interrupted branch leaves its environments, and its processes, in the middle of it
            self.close_vine()
            raise
        self._vine_batch = batch
        batches = self._ranks.gather((batch.steps, batch.diagnostics))
        steps = sum(steps for steps, _ in batches)
        self.num_timesteps += steps
        advance_progress_bars(callback, steps)
        self._record(vine_diagnostics([diagnostics for _, diagnostics in batches]))

    def _vine_for(self, env: VecEnv) -> Vine:
        """The vine of these environments, made when they are first collected from, or anew for other settings."""
        settings = VineSettings.of(self.vine_kwargs, self.action_space, self.n_steps * self.n_envs)
        if self._vine is None or self._vine.env is not env or self._vine.settings != settings:
            self.close_vine()
            self._vine = Vine(env, self.policy, settings)
        return self._vine

    def close_vine(self) -> None:
        """Close the environments that branches run in; they are made anew when needed."""
        if self._vine is not None:
            self._vine.close()
        self._vine = None

    def train(self) -> None:
        """One update from the rollout buffer alone (paper, section 6 and appendix C): the policy's step, then the critic."""
        self._update_learning_rate(self.policy.optimizer)
        self._n_updates += 1
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if not self._rollout_is_finite():
            return

        self.policy.set_training_mode(False)  # θ₀ must be at distance 0 from itself, whatever dropout or batch norm there is
        samples = Samples.from_buffer(self.rollout_buffer)
        batch = Batch.from_samples(samples, self.sub_sampling_factor, self.normalize_advantage, self._ranks)
        actor = Actor(self.policy, batch.observations)
        objective: SinglePathObjective | VineObjective
        if self._vine_batch is None:
            objective = SinglePathObjective(actor, batch, self.ent_coef, self._ranks)
        else:
            objective = VineObjective(actor, batch, self._vine_batch, self.ent_coef, self.normalize_advantage, self._ranks)
        if float(self._ranks.maximum((objective.start.ratio - 1.0).abs().max())) > LARGEST_RATIO_ERROR:
            self._warn_once("ratio", DISAGREEMENT)
        if actor.has_running_statistics:
            self._warn_once("statistics", RUNNING_STATISTICS)

        fisher = objective.fisher(self.cg_damping, self.fisher_sample_fraction)
        solution = conjugate_gradient(fisher.product, objective.gradient, self.cg_max_steps)
        if self.fisher_sample_fraction < 1.0:  # x was fitted to the sample, which is flatter along it than all states are
            solution = replace(solution, quadratic_form=objective.fisher(self.cg_damping).quadratic_form(solution.x))
        step = full_step(solution, objective.gradient, self.target_kl)
        search = backtracking_line_search(
            objective.evaluate,
            actor.theta,
            objective.start,
            step,
            self.target_kl,
            self.line_search_shrinking_factor,
            self.line_search_max_iter,
            self._ranks.mean,
        )
        if search.status is Status.OK:
            actor.assign(search.theta)
        self._record(step_diagnostics(self.policy, batch, objective.start, solution, step, search, self.gamma, self._ranks))
        if search.status is Status.NOT_FINITE:
            self._warn_once("gradient", f"{SKIPPED}: the gradient or the curvature of the policy's objective is not finite.")
            return

        fit = fit_critic(actor, samples, self.n_critic_updates, self.batch_size, self._ranks)
        self._record(critic_diagnostics(fit, self.rollout_buffer, self._ranks))
        if not fit.finite:
            self._warn_once("critic", "The critic's fit ended in NaN or infinity and was undone: try a lower learning_rate.")
        self._check_parameters()

    def _update_current_progress_remaining(self, num_timesteps: int, total_timesteps: int) -> None:
        """SB3's; but the last rollout goes beyond the budget, and a falling schedule must not give a negative rate there."""
        super()._update_current_progress_remaining(min(num_timesteps, total_timesteps), total_timesteps)

    def _rollout_is_finite(self) -> bool:
        """Whether there is nothing in the rollout that would spoil the networks; logs and warns if there is."""
        check_running_statistics(self.env)
        defect = find_defect(self.rollout_buffer)
        if defect is None and self._vine_batch is not None:
            defect = self._vine_batch.find_defect()
        defects = [(rank, found) for rank, found in enumerate(self._ranks.gather(defect)) if found is not None]
        if defects:
            # A reward on one rank spoils the Monte-Carlo advantages of all: these are the last to blame
            rank, found = min(defects, key=lambda defect: defect[1].key == "advantages")
            self._record({"train/status": Status.BAD_ROLLOUT.value})
            self._warn_once(found.key, f"{SKIPPED}: {found}{f' of rank {rank}' if self._ranks.size > 1 else ''}.")
        return not defects

    def _record(self, diagnostics: Mapping[str, float | str]) -> None:
        """Log; TensorBoard's text panel gets the status only where it is news."""
        for key, value in diagnostics.items():
            self.logger.record(key, value, exclude="tensorboard" if value == Status.OK.value else None)

    def _warn_once(self, kind: str, text: str) -> None:
        """Warn, the first time each kind of problem occurs; the log under ``train/`` has every time."""
        if kind not in self._warned and self._ranks.rank == 0:
            self._warned.add(kind)
            warnings.warn(f"{text} This is said once.", RuntimeWarning, stacklevel=2)

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
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)
