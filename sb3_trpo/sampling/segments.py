"""Segments of a path, run in the workers of a WorkerVecEnv: the policy is there, and needs nobody until a segment is over.

A rollout's policy does not change, and values are not needed before its end. So a worker gets what acts, the state of the
random generator and the wrappers of its environments, and sends back arrays. The path is, bit for bit, the one that is run
step by step here; but running statistics move by a worker's own samples, and are merged exactly when a segment is over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.policy import explores_by_state
from sb3_trpo.policy.layout import LaidOut, zeros_like_rows
from sb3_trpo.policy.shares import PolicyRecipe, ShareActor
from sb3_trpo.processes.messages import dump, load
from sb3_trpo.sampling.infos import pack, unpack
from sb3_trpo.sampling.single_path import Evaluator, Observations, Transition, finite, to_env
from sb3_trpo.vec_env.hosting import HostedRows
from sb3_trpo.vec_env.normalizing import quick_step
from sb3_trpo.vec_env.shares import Returned, WrapperShare, around, can_be_shared, cut, note_episodes, put_back, returned
from sb3_trpo.vec_env.statistics import running_statistics

STEPS = 256  # of a segment, at most: callbacks are called, and may stop, after each


@runtime_checkable
class SegmentEvaluator(Evaluator, Protocol):
    """One that lets other processes draw the actions."""

    def acts_elsewhere(self) -> bool:
        """Whether :meth:`actor_for` knows what acts in other processes as this does here."""
        ...

    def actor_for(self, obs: Observations, shares: Sequence[slice]) -> Any:
        """What is sent to other processes to act there: see :mod:`sb3_trpo.policy.shares`.

        :param obs: finite observations, where the environments stand
        :param shares: the environments of each process
        """
        ...

    def acted(self, obs: Observations, values: np.ndarray, log_probs: np.ndarray) -> None:
        """Take note of what came with actions that were drawn elsewhere, before they are recorded."""
        ...


class Job(NamedTuple):
    """What a worker is asked for.

    :param actor: pickle of what acts; None for the one of the segment before
    :param generator: state of the generator of actions
    :param wrappers: of the worker's environments
    :param obs: where they stand, packed
    :param n_steps: of each
    """

    actor: bytes | None
    generator: th.Tensor
    wrappers: list[WrapperShare]
    obs: Any
    n_steps: int


class Segment(NamedTuple):
    """What a worker sends back of n steps of its r environments.

    :param observations: what the policy saw ``[n, r, …]``
    :param actions: what it drew ``[n, r, …]``
    :param values: ``[n, r, 1]``, or None
    :param log_probs: ``[n, r]``, or None
    :param rewards: ``[n, r]``
    :param dones: ``[n, r]``
    :param infos: packed
    :param obs: where the environments stand, packed
    :param reset_infos: of the last resets, by row
    :param returned: what has become of the wrappers
    :param generator: state of the generator of actions
    """

    observations: Observations
    actions: np.ndarray
    values: np.ndarray | None
    log_probs: np.ndarray | None
    rewards: np.ndarray
    dones: np.ndarray
    infos: Any
    obs: Any
    reset_infos: dict[int, dict[str, Any]]
    returned: Returned
    generator: th.Tensor


def run_segment(rows: HostedRows, kept: dict[str, Any], job: Job) -> Segment:
    """What a worker does: run its environments under the policy.

    :param rows: its environments
    :param kept: from one segment to the next
    :param job: what to do
    """
    if job.actor is not None:
        given = load(job.actor)
        kept["actor"] = given.share(kept) if isinstance(given, PolicyRecipe) else given
    actor: ShareActor = kept["actor"]
    plain: Any = SimpleNamespace(action_space=rows.action_space, squash_output=False)
    in_range = to_env(getattr(actor, "policy", plain))
    env, generator = around(rows, job.wrappers), th.Generator()
    step_all = quick_step(env)
    generator.set_state(job.generator)
    before = [statistics.copy() for _, _, statistics in running_statistics(env)]
    mine, obs = slice(rows.first, rows.first + rows.num_envs), _unpacked(job.obs)
    seen, acted, rewards, dones, infos = [], [], [], [], []
    reset_infos: dict[int, dict[str, Any]] = {}
    for _ in range(job.n_steps):
        seen.append(obs)
        acted.append(actor.act(finite(obs), mine, generator))
        obs, reward, done, info = step_all(in_range(acted[-1].actions))  # type: ignore[assignment]
        rewards.append(reward)
        dones.append(done)
        infos.append(info)
        if done.any():
            reset_infos |= {int(row): rows.reset_infos[row] for row in np.flatnonzero(done)}
    actions, values, log_probs = (
        None if parts[0] is None else np.stack(parts)
        for parts in zip(*acted, strict=True)  # type: ignore[arg-type]
    )
    return Segment(
        _stacked(seen),
        actions,  # type: ignore[arg-type]
        values,
        log_probs,
        np.stack(rewards),
        np.stack(dones),
        pack(infos),
        _packed(obs),
        reset_infos,
        returned(env, before),
        generator.get_state(),
    )


def _stacked(steps: Sequence[Observations]) -> Observations:
    if isinstance(steps[0], dict):
        return {key: np.stack([step[key] for step in steps]) for key in steps[0]}  # type: ignore[index]
    return np.stack(steps)  # type: ignore[arg-type]


def _joined(parts: Sequence[Any], axis: int) -> Any:
    """Arrays of all workers' environments, or dicts of such, or None."""
    if parts[0] is None:
        return None
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts], axis) for key in parts[0]}
    return np.concatenate(parts, axis)


def _at(observations: Observations, step: int) -> Observations:
    return {key: part[step] for key, part in observations.items()} if isinstance(observations, dict) else observations[step]


def runs_in_segments(sampling: Any, evaluator: Evaluator, env: VecEnv) -> bool:
    """Whether a path may be run in segments: nobody has to see it while the environments are there, or act step by step.

    :param sampling: watches the path
    :param evaluator: acts
    :param env: the training environments
    """
    elsewhere = isinstance(evaluator, SegmentEvaluator) and evaluator.acts_elsewhere()
    return elsewhere and not getattr(sampling, "in_step", True) and can_be_shared(env)


@dataclass
class SegmentedPath:
    """The path of a rollout, segment by segment; iterating over it gives its steps.

    :param policy: in eval mode
    :param evaluator: says what acts elsewhere, and is told what was done there
    :param env: the training environments, of which :func:`can_be_shared` holds
    :param obs: where they stand; kept up to date, ahead of the steps that have been given
    :param dones: whether an episode ended there; None before the first segment
    :param n_steps: env steps an environment
    :param sde_sample_freq: steps between two noise matrices of gSDE; −1: one a rollout
    """

    policy: ActorCriticPolicy
    evaluator: SegmentEvaluator
    env: VecEnv
    obs: Observations
    n_steps: int
    sde_sample_freq: int = -1
    dones: np.ndarray | None = None

    def __iter__(self) -> Iterator[Transition]:
        resampled = explores_by_state(self.policy) and self.sde_sample_freq > 0
        taken = 0
        while taken < self.n_steps:
            until_noise = self.sde_sample_freq - taken % self.sde_sample_freq if resampled else self.n_steps
            new_noise = resampled and until_noise == self.sde_sample_freq
            if new_noise:
                self.policy.reset_noise(self.env.num_envs)
            count = min(STEPS, self.n_steps - taken, until_noise)
            yield from self._segment(count, new_actor=taken == 0 or new_noise)
            taken += count

    def _segment(self, n_steps: int, new_actor: bool) -> Iterator[Transition]:
        inner = self.env.unwrapped
        shares = inner.slices  # type: ignore[attr-defined]
        actor = dump(self.evaluator.actor_for(finite(self.obs), shares)) if new_actor else None
        generator = th.get_rng_state()
        jobs = [(Job(actor, generator, cut(self.env, share), _packed(_rows(self.obs, share)), n_steps),) for share in shares]
        segments: list[Segment] = inner.run(run_segment, jobs)  # type: ignore[attr-defined]
        th.set_rng_state(segments[0].generator)
        put_back(self.env, [segment.returned for segment in segments])
        observations = _joined([segment.observations for segment in segments], 1)
        actions, rewards, dones = (
            _joined([getattr(segment, name) for segment in segments], 1) for name in ("actions", "rewards", "dones")
        )
        values, log_probs = (_joined([getattr(segment, name) for segment in segments], 1) for name in ("values", "log_probs"))
        of_workers = zip(*(unpack(segment.infos) for segment in segments), strict=True)
        infos = [[info for part in parts for info in part] for parts in of_workers]
        for share, segment in zip(shares, segments, strict=True):
            for row, info in segment.reset_infos.items():
                inner.reset_infos[share.start + row] = info
        note_episodes(self.env, infos, dones)
        self.obs, self.dones = _of_all([_unpacked(segment.obs) for segment in segments], shares), dones[-1]
        clipped = to_env(self.policy)(actions)
        for step in range(n_steps):
            obs = _at(observations, step)
            new_obs = _at(observations, step + 1) if step + 1 < n_steps else self.obs
            if values is not None:
                self.evaluator.acted(obs, values[step], log_probs[step])
            yield Transition(obs, actions[step], clipped[step], new_obs, rewards[step], dones[step], infos[step])


def _packed(obs: Observations) -> Any:
    return {key: LaidOut.of(part) for key, part in obs.items()} if isinstance(obs, dict) else LaidOut.of(obs)


def _unpacked(obs: Any) -> Observations:
    return {key: part.array() for key, part in obs.items()} if isinstance(obs, dict) else obs.array()


def _of_all(parts: Sequence[Any], shares: Sequence[slice]) -> Any:
    """Observations of all environments, in the order in memory of the parts."""
    if isinstance(parts[0], dict):
        return {key: _of_all([part[key] for part in parts], shares) for key in parts[0]}
    whole = zeros_like_rows(parts[0], shares[-1].stop)
    for share, part in zip(shares, parts, strict=True):
        whole[share] = part
    return whole


def _rows(obs: Observations, share: slice) -> Observations:
    return {key: part[share] for key, part in obs.items()} if isinstance(obs, dict) else obs[share]
