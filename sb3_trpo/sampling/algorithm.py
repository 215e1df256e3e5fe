"""How an SB3 algorithm comes by its samples: a path through the training environments, and what a sampler makes of it."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.checkpoints import Resumable
from sb3_trpo.checkpoints.callback_states import walk
from sb3_trpo.distributed import DataParallelAlgorithm
from sb3_trpo.policy import ParameterCopy, PolicyInput, find_sizes
from sb3_trpo.progress_bars import advance_progress_bars
from sb3_trpo.ranks import mean_and_std
from sb3_trpo.sampling import (
    SAMPLERS,
    Evaluator,
    Experience,
    FrameStackBuffer,
    PathAlone,
    Sampler,
    Samples,
    Sampling,
    check_running_statistics,
    estimate_advantages,
    find_defect,
    largest_reward,
    make_evaluator,
    stacks_grey_frames,
)
from sb3_trpo.sampling.buffers import check_rollout_length, keep_as_drawn
from sb3_trpo.sampling.segmented_path import SegmentedPath, begin_path
from sb3_trpo.trust_region import Status
from sb3_trpo.vec_env import shallow_copies

SKIPPED = "The update was skipped and the networks left as they were"


class SamplingAlgorithm(DataParallelAlgorithm, Resumable):
    """An on-policy algorithm that collects with a sampler (paper, sections 5.1 and 5.2).

    Afterwards the rollout buffer has the path with its advantages, and ``_experience`` what the sampler made of it. What to do
    with them is the subclass's, which sets the attributes below and calls ``_prepare_sampling`` in ``_setup_model``.
    ``last_update`` has what the last update logged, by the same keys, a :class:`~sb3_trpo.trust_region.Status` where the log
    has its code; it is not saved.
    """

    advantage_estimator: str
    normalize_advantage: bool
    sampling: str
    vine_kwargs: dict[str, Any] | None

    def _prepare_sampling(self) -> None:
        self._sampler: Sampler | None = None
        self._sampler_made_for: tuple[Any, ...] = ()
        self._experience: Experience = PathAlone()
        self._acted_with: ParameterCopy | None = None
        self._warned: set[str] = set()
        self.last_update: dict[str, float | Status] = {}
        if self.rollout_buffer_class is None and stacks_grey_frames(self.env, self.observation_space):
            self.rollout_buffer_class = FrameStackBuffer

    def _make_networks(self) -> None:
        """Make policy and rollout buffer."""
        super()._setup_model()
        find_sizes(self.policy)

    def _unsaved_of_sampling(self) -> list[str]:
        unsaved = ["_sampler", "_sampler_made_for", "_experience", "_acted_with", "_warned", "last_update"]
        chosen = self.rollout_buffer_class is FrameStackBuffer and not self.rollout_buffer_kwargs
        if chosen and stacks_grey_frames(self.env, self.observation_space):
            unsaved.append("rollout_buffer_class")  # chosen anew when the file is loaded, with or without this package
        return unsaved

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles have: their samplers are made anew, with environments and processes of their own."""
        return {**vars(self), "_sampler": None, "_sampler_made_for": ()}

    def _apply_changed_settings(self) -> None:
        """Refuse settings that were changed to something impossible: the subclass's."""

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed all random generators, on every rank differently.

        :param seed: rank 0's; the others' follow from it
        """
        super().set_random_seed(seed)
        self._vine_seed = np.random.SeedSequence(self._own_seed(seed)).generate_state(1)[0]

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """
        Fill the buffer with the path and its advantages, while the sampler watches; then ask the sampler for its experience.

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
        keep_as_drawn(rollout_buffer)
        callback.on_rollout_start()
        for each in walk(callback):  # SB3 only ever adds to what a callback finds
            each.locals.pop("values", None)
        self._apply_changed_settings()  # here, because the callback may have changed some
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)

        bootstrap_gamma = self.gamma if self.advantage_estimator == "gae" else 0.0
        evaluator = self._make_evaluator(rollout_buffer, bootstrap_gamma)
        self._acted_with = evaluator.acted_with
        rng = np.random.default_rng([self._vine_seed, self._n_updates, self.num_timesteps])
        sampling = self._sampler_for(env).begin(n_rollout_steps, self.gamma, self.sde_sample_freq, rng)
        path = begin_path(self.policy, evaluator, env, self._last_obs, n_rollout_steps, self.sde_sample_freq, sampling)
        watched = sampling.watch(iter(path))
        callback.update_locals(locals())
        steps_before, completed = self.num_timesteps, True
        with shallow_copies(env):
            for n_steps, step in enumerate(watched):
                self.num_timesteps += env.num_envs * self._ranks.size
                callback.update_locals({**vars(step), **evaluator.locals(), "n_steps": n_steps})
                if not callback.on_step():
                    completed = False
                    break
                self._update_info_buffer(step.infos, step.dones)
                evaluator.record(step, self._last_episode_starts)
                self._last_obs, self._last_episode_starts = step.new_obs, step.dones
        if isinstance(path, SegmentedPath) and path.dones is not None:  # stopped or not, the environments stand there
            self._last_obs, self._last_episode_starts = path.obs, path.dones
        if not self._meet(completed, steps_before, callback):
            return False
        evaluator.finish()

        values = self._estimate_advantages(rollout_buffer)
        self._experience = self._gain_experience(sampling, rollout_buffer, callback)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _gain_experience(self, sampling: Sampling, buffer: RolloutBuffer, callback: BaseCallback) -> Experience:
        """Ask the sampler; the env steps that it takes count like any others."""
        try:
            experience = sampling.experience(self.policy, buffer)
        except BaseException:  # interrupted, it leaves its environments, and its processes, in the middle of something
            self.close_vine()
            raise
        of_ranks = self._ranks.gather((experience.steps, experience.diagnostics))
        steps = sum(steps for steps, _ in of_ranks)
        self.num_timesteps += steps
        advance_progress_bars(callback, steps)
        for key, value in _combined([diagnostics for _, diagnostics in of_ranks]).items():
            self.logger.record(key, value)
        return experience

    def _sampler_for(self, env: VecEnv) -> Sampler:
        """The sampler of these environments, made when they are first collected from, or anew for other settings."""
        options = None if self.vine_kwargs is None else dict(self.vine_kwargs)
        made_for = (id(env), self.sampling, options, self.n_steps)
        if self._sampler is None or self._sampler_made_for != made_for:
            self.close_vine()
            self._sampler = self._make_sampler(env)
            self._sampler_made_for = made_for
        return self._sampler

    def _make_sampler(self, env: VecEnv) -> Sampler:
        """What subclasses may replace, as the next three: the sampler that ``sampling`` names."""
        return SAMPLERS[self.sampling](env, self.policy, self.vine_kwargs, self.n_steps)

    def _make_evaluator(self, buffer: RolloutBuffer, bootstrap_gamma: float) -> Evaluator:
        """What draws the path's actions and completes the buffer."""
        return make_evaluator(self.policy, buffer, self._last_obs, bootstrap_gamma)  # type: ignore[arg-type]

    def _estimate_advantages(self, buffer: RolloutBuffer) -> th.Tensor | None:
        """Fill in returns and advantages; values after the last step ``[n_envs, 1]``, where they were asked for."""
        last, dones = self._states_reached(), self._last_episode_starts
        return estimate_advantages(buffer, self.policy, last, dones, self.advantage_estimator, self._ranks.mean)  # type: ignore[arg-type]

    def _states_reached(self) -> PolicyInput:
        """What a value is asked for after the last step, one state of each environment."""
        return obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]

    def _read_samples(self) -> Samples:
        """The rollout, as the update takes it."""
        return Samples.from_buffer(self.rollout_buffer)

    def close_vine(self) -> None:
        """End the environments that branches run in, and their processes; they are made anew when needed."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.close()

    def _rollout_is_finite(self) -> bool:
        """Whether there is nothing in the rollout that would spoil the networks; logs and warns if there is."""
        check_running_statistics(self.env)
        defect = find_defect(self.rollout_buffer, self._last_obs) or self._experience.find_defect()
        if self.normalize_advantage:
            spreads = [th.as_tensor(self.rollout_buffer.advantages), self._experience.branch_advantages]
            stds = [mean_and_std(values.flatten(), self._ranks)[1] for values in spreads if values is not None]
            if not all(map(th.isfinite, stds)):
                defect = defect or largest_reward(self.rollout_buffer)
        defects = [(rank, found) for rank, found in enumerate(self._ranks.gather(defect)) if found is not None]
        if defects:
            # A reward on one rank spoils the Monte-Carlo advantages of all: these are the last to blame
            rank, found = min(defects, key=lambda pair: (math.isfinite(pair[1].value), pair[1].key == "advantages"))
            self._record_update({"train/status": Status.BAD_ROLLOUT})
            of_rank = f" of rank {rank}" if self._ranks.size > 1 else ""
            self._warn_once(found.key, f"{SKIPPED}: {found}{of_rank}.{found.cause}")
        return not defects

    def _warn_once(self, kind: str, text: str) -> None:
        """Warn, the first time each kind of problem occurs; the log under ``train/`` has every time."""
        if kind not in self._warned and self._ranks.rank == 0:
            self._warned.add(kind)
            warnings.warn(f"{text} This warning is shown once.", RuntimeWarning, stacklevel=2)

    def _record_update(self, diagnostics: Mapping[str, float | Status]) -> None:
        """Keep for ``last_update``, and log as numbers alone: other libraries' loggers (imitation's) take means of all."""
        self.last_update.update(diagnostics)
        for key, value in diagnostics.items():
            self.logger.record(key, value.code if isinstance(value, Status) else value)


def _combined(of_ranks: list[Mapping[str, float]]) -> dict[str, float]:
    """Diagnostics of all ranks: counts and speeds add up, the others are means over ranks."""
    sums = {key: sum(diagnostics[key] for diagnostics in of_ranks) for key in of_ranks[0]}
    added = ("_count", "_fps")
    return {key: total if key.endswith(added) else total / len(of_ranks) for key, total in sums.items()}
