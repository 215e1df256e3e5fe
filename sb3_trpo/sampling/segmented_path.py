"""A path that is run segment by segment in the workers of a WorkerVecEnv, put together here.

It is, bit for bit, the one that is run step by step; but running statistics move by a worker's own samples, and are merged
exactly when a segment is over.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.memory_order import zeros_like_rows
from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import explores_by_state, select
from sb3_trpo.policy.acting import BLOCK
from sb3_trpo.processes.messages import dump
from sb3_trpo.sampling.infos import unpack
from sb3_trpo.sampling.segments import Job, Segment, packed, run_segment, unpacked
from sb3_trpo.sampling.single_path import Evaluator, Observations, Transition, finite, single_path, to_env
from sb3_trpo.vec_env import RowState
from sb3_trpo.vec_env.shares import can_be_shared, cut, note_episodes, put_back

# Steps of a segment, at most: callbacks are called, and may stop, after each. NumPy's actor draws noise for as many at a time,
# so that callbacks that draw random numbers draw the same ones with and without workers
STEPS = BLOCK


@runtime_checkable
class SegmentEvaluator(Evaluator, Protocol):
    """One that lets other processes draw the actions."""

    def acts_elsewhere(self) -> bool:
        """Whether :meth:`actor_for` knows what acts in other processes as this does here."""
        ...

    def actor_for(self, obs: Observations, shares: Sequence[slice]) -> Any:
        """What is sent to other processes to act there: see :mod:`sb3_trpo.policy.acting_in_workers`.

        :param obs: finite observations, where the environments stand
        :param shares: the environments of each process
        """
        ...

    def acted(self, obs: Observations, values: np.ndarray, log_probs: np.ndarray) -> None:
        """Take note of what came with actions that were drawn elsewhere, before they are recorded."""
        ...


class StateSaver(Protocol):
    """Names the states of the path to save while workers run it."""

    def due(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Steps and environments, in order, whose states are to be saved before the step is taken.

        :param begin: first step
        :param end: the step after the last one
        """
        ...

    def take(self, states: Sequence[RowState]) -> None:
        """The states that were due."""
        ...


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
    :param trunk: names the states that workers save on the way; it saves those where a segment begins itself
    """

    policy: ActorCriticPolicy
    evaluator: SegmentEvaluator
    env: VecEnv
    obs: Observations
    n_steps: int
    sde_sample_freq: int = -1
    trunk: StateSaver | None = None
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
            due = [] if self.trunk is None else self.trunk.due(taken + 1, taken + count)
            yield from self._segment(count, taken == 0 or new_noise, [(step - taken, row) for step, row in due])
            taken += count

    def _segment(self, n_steps: int, new_actor: bool, due: list[tuple[int, int]]) -> Iterator[Transition]:
        inner = self.env.unwrapped
        shares = inner.slices  # type: ignore[attr-defined]
        actor = dump(self.evaluator.actor_for(finite(self.obs), shares)) if new_actor else None
        generator = th.get_rng_state()
        own = [[(step, row - share.start) for step, row in due if share.start <= row < share.stop] for share in shares]
        jobs = [
            (Job(actor, generator, cut(self.env, share), packed(select(self.obs, share)), n_steps, saved),)
            for share, saved in zip(shares, own, strict=True)
        ]
        segments: list[Segment] = inner.run(run_segment, jobs)  # type: ignore[attr-defined]
        if self.trunk is not None:
            states = {
                (step, row + share.start): state
                for share, saved, segment in zip(shares, own, segments, strict=True)
                for (step, row), state in zip(saved, segment.states, strict=True)
            }
            self.trunk.take([states[place] for place in due])
        th.set_rng_state(segments[0].generator)
        put_back(self.env, [segment.returned for segment in segments])
        observations = _joined([segment.observations for segment in segments], 1)
        actions, rewards, dones, values, log_probs = (
            _joined([getattr(segment, name) for segment in segments], 1)
            for name in ("actions", "rewards", "dones", "values", "log_probs")
        )
        of_workers = zip(*(unpack(segment.infos) for segment in segments), strict=True)
        infos = [[info for part in parts for info in part] for parts in of_workers]
        reset_infos = {
            (step, share.start + row): info
            for share, segment in zip(shares, segments, strict=True)
            for (step, row), info in segment.reset_infos.items()
        }
        note_episodes(self.env, infos, dones)
        self.obs, self.dones = _gathered([unpacked(segment.obs) for segment in segments], shares), dones[-1]
        clipped = to_env(self.policy)(actions)
        for step in range(n_steps):
            obs = select(observations, step)
            new_obs = select(observations, step + 1) if step + 1 < n_steps else self.obs
            if values is not None:
                self.evaluator.acted(obs, values[step], log_probs[step])
            for row in np.flatnonzero(dones[step]):
                inner.reset_infos[row] = reset_infos[step, row]
            yield Transition(obs, actions[step], clipped[step], new_obs, rewards[step], dones[step], infos[step])


def begin_path(
    policy: ActorCriticPolicy,
    evaluator: Evaluator,
    env: VecEnv,
    obs: Observations,
    n_steps: int,
    sde_sample_freq: int,
    sampling: Any,
) -> Iterable[Transition]:
    """The path of a rollout: in segments, unless it must be seen while the environments are there, or acted step by step.

    The first parameters are those of :func:`single_path`.

    :param sampling: watches the path
    """
    begun = policy, evaluator, env, obs, n_steps, sde_sample_freq
    elsewhere = isinstance(evaluator, SegmentEvaluator) and evaluator.acts_elsewhere()
    if elsewhere and not getattr(sampling, "in_step", True) and can_be_shared(env):
        return SegmentedPath(*begun, getattr(sampling, "trunk", None))  # type: ignore[arg-type]
    return single_path(*begun)


def _joined(parts: Sequence[Any], axis: int) -> Any:
    """Arrays of all workers' environments, or dicts of such, or None."""
    if parts[0] is None:
        return None
    return map_parts(lambda *arrays: np.concatenate(arrays, axis), *parts)


def _gathered(parts: Sequence[Any], shares: Sequence[slice]) -> Any:
    """Observations of all environments, in the order in memory of the parts."""

    def placed(*arrays: np.ndarray) -> np.ndarray:
        whole = zeros_like_rows(arrays[0], shares[-1].stop)
        for share, array in zip(shares, arrays, strict=True):
            whole[share] = array
        return whole

    return map_parts(placed, *parts)
