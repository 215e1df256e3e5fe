"""Segments of a path, run in the workers of a WorkerVecEnv: the policy is there, too, until a segment is over.

A rollout's policy does not change, and values are not needed before its end. So a worker gets what acts, the state of the
random generator and the wrappers of its environments, and sends back arrays. The path is, bit for bit, the one that is run
step by step here; but running statistics move by a worker's own samples, and are merged exactly when a segment is over.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch as th

from sb3_trpo.memory_order import LaidOut
from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy.acting_in_workers import PolicyRecipe, ShareActor
from sb3_trpo.processes.messages import load
from sb3_trpo.sampling.infos import PackedInfos, pack
from sb3_trpo.sampling.single_path import Observations, finite, stacked, to_env
from sb3_trpo.vec_env import RowState, clone_rows
from sb3_trpo.vec_env.fast_normalization import quick_step
from sb3_trpo.vec_env.shares import Returned, WrapperShare, around, returned
from sb3_trpo.vec_env.statistics import running_statistics
from sb3_trpo.vec_env.worker_envs import HostedRows


class Job(NamedTuple):
    """What a worker is asked for.

    :param actor: pickle of what acts; None for the one of the segment before
    :param generator: state of the generator of actions
    :param wrappers: of the worker's environments
    :param obs: where they stand, packed
    :param n_steps: of each
    :param due: steps and rows whose states are to be saved
    """

    actor: bytes | None
    generator: th.Tensor
    wrappers: list[WrapperShare]
    obs: Any
    n_steps: int
    due: list[tuple[int, int]]


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
    :param reset_infos: by step and row
    :param returned: what has become of the wrappers
    :param generator: state of the generator of actions
    :param states: that were due
    """

    observations: Observations
    actions: np.ndarray
    values: np.ndarray | None
    log_probs: np.ndarray | None
    rewards: np.ndarray
    dones: np.ndarray
    infos: PackedInfos
    obs: Any
    reset_infos: dict[tuple[int, int], dict[str, Any]]
    returned: Returned
    generator: th.Tensor
    states: list[RowState]


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
    actor.begin(slice(rows.first, rows.first + rows.num_envs), job.n_steps, generator)
    before = [statistics.copy() for _, _, statistics in running_statistics(env)]
    obs = unpacked(job.obs)
    seen, acted, rewards, dones, infos = [], [], [], [], []
    reset_infos: dict[tuple[int, int], dict[str, Any]] = {}
    due, states = iter(job.due), list[RowState]()
    following = next(due, None)
    for step in range(job.n_steps):
        while following is not None and following[0] == step:
            states += clone_rows(env, following[1:])
            following = next(due, None)
        seen.append(obs)
        acted.append(actor.act(finite(obs)))
        obs, reward, done, info = step_all(in_range(acted[-1].actions))  # type: ignore[assignment]
        rewards.append(reward)
        dones.append(done)
        infos.append(info)
        if done.any():
            reset_infos |= {(step, int(row)): rows.reset_infos[row] for row in np.flatnonzero(done)}
    actions, values, log_probs = (
        None if parts[0] is None else np.stack(parts)
        for parts in zip(*acted, strict=True)  # type: ignore[arg-type]
    )
    return Segment(
        stacked(seen),
        actions,  # type: ignore[arg-type]
        values,
        log_probs,
        np.stack(rewards),
        np.stack(dones),
        pack(infos),
        packed(obs),
        reset_infos,
        returned(env, before),
        generator.get_state(),
        states,
    )


def packed(obs: Observations) -> Any:
    return map_parts(LaidOut.of, obs)


def unpacked(obs: Any) -> Observations:
    return map_parts(LaidOut.array, obs)
