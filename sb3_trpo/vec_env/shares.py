"""VecEnv wrappers for a share of the environments, in another process, and what comes back from there.

Between two segments of a rollout the wrappers here have the whole state: arrays with a row for every environment are cut into
shares and put together again; what running statistics have taken in apart is merged exactly.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.vec_env import (
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from sb3_trpo.observation_parts import map_parts
from sb3_trpo.processes.messages import dump_plain
from sb3_trpo.vec_env.layers import frame_stacks, layers
from sb3_trpo.vec_env.moments import Moments, merge
from sb3_trpo.vec_env.statistics import running_statistics
from sb3_trpo.vec_env.worker_vec_env import WorkerVecEnv

KINDS = (VecNormalize, VecMonitor, VecFrameStack, VecTransposeImage, VecExtractDictObs)
# Attributes with a row for every environment, or a dict of such
_ROWS = {VecNormalize: ("returns", "old_obs", "old_reward"), VecMonitor: ("episode_returns", "episode_lengths")}
_ELSEWHERE = ("venv", "class_attributes", "results_writer", "reset_infos", "_seeds", "_options")


class WrapperShare(NamedTuple):
    """A wrapper as it is sent: its class, and its attributes for a share of the environments."""

    kind: type[VecEnvWrapper]
    attributes: dict[str, Any]

    def around(self, venv: VecEnv) -> VecEnvWrapper:
        """The wrapper, around a share of the environments."""
        wrapper = object.__new__(self.kind)
        vars(wrapper).update(self.attributes, venv=venv, class_attributes={}, num_envs=venv.num_envs, reset_infos=[])
        if self.kind is VecMonitor:
            vars(wrapper)["results_writer"] = None
        return wrapper


class Returned(NamedTuple):
    """What the wrappers of a share have become.

    :param rows: of each wrapper, outermost first, its arrays with a row for every environment
    :param moments: what running statistics have taken in, in the order of ``running_statistics``
    """

    rows: list[list[Any]]
    moments: list[Moments]


def can_be_shared(env: VecEnv) -> bool:
    """Whether environments are in workers, and their wrappers can be there too: SB3's own, at most one of them a monitor.

    What a user has added to a wrapper must be such that it can be sent.
    """
    wrappers = list(layers(env))
    known = all(type(wrapper) in KINDS and "step_wait" not in vars(wrapper) for wrapper in wrappers)
    if type(env.unwrapped) is not WorkerVecEnv or not known:
        return False
    return sum(type(wrapper) is VecMonitor for wrapper in wrappers) < 2 and _can_be_sent(cut(env, slice(0, 1)))


def cut(env: VecEnv, share: slice) -> list[WrapperShare]:
    """The wrappers for a share of the environments, outermost first."""
    shares = []
    for wrapper in layers(env):
        attributes = {name: value for name, value in vars(wrapper).items() if name not in _ELSEWHERE}
        for name in _ROWS.get(type(wrapper), ()):
            if name in attributes:
                attributes[name] = _cut(attributes[name], share)
        if type(wrapper) is VecFrameStack:
            attributes["stacked_obs"] = _cut_stacks(wrapper.stacked_obs, share)
        shares.append(WrapperShare(type(wrapper), attributes))
    return shares


def _can_be_sent(wrappers: list[WrapperShare]) -> bool:
    try:
        dump_plain(wrappers)
    except Exception:
        return False
    return True


def _cut(value: Any, share: slice) -> Any:
    return map_parts(lambda part: part[share], value)


def _cut_stacks(stacks: StackedObservations, share: slice) -> StackedObservations:
    stacks = copy(stacks)
    if hasattr(stacks, "sub_stacked_observations"):
        stacks.sub_stacked_observations = {
            key: _cut_stacks(part, share) for key, part in stacks.sub_stacked_observations.items()
        }
    else:
        stacks.stacked_obs = stacks.stacked_obs[share]
    return stacks


def around(venv: VecEnv, wrappers: Sequence[WrapperShare]) -> VecEnv:
    """A share of the environments in its wrappers."""
    for wrapper in reversed(wrappers):
        venv = wrapper.around(venv)
    return venv


def _rows(wrapper: VecEnvWrapper) -> list[tuple[dict[Any, Any], Any]]:
    """Where a wrapper has arrays with a row for every environment: each a dict and a key."""
    if type(wrapper) is VecFrameStack:
        return [(vars(part), "stacked_obs") for part in frame_stacks(wrapper.stacked_obs)]
    found: list[tuple[dict[Any, Any], Any]] = []
    for name in _ROWS.get(type(wrapper), ()):
        value = vars(wrapper).get(name)
        found += [(value, key) for key in value] if isinstance(value, dict) else [(vars(wrapper), name)]
    return found


def returned(env: VecEnv, before: Sequence[Any]) -> Returned:
    """What is sent back.

    :param env: a share in its wrappers
    :param before: the running statistics as they came
    """
    rows = [[holder.get(key) for holder, key in _rows(wrapper)] for wrapper in layers(env)]
    statistics = [statistics for _, _, statistics in running_statistics(env)]
    return Returned(rows, [Moments.added(old, new) for old, new in zip(before, statistics, strict=True)])


def put_back(env: VecEnv, of_shares: Sequence[Returned]) -> None:
    """Bring the wrappers here to where the segment has ended.

    :param env: all environments in their wrappers
    :param of_shares: in the order of the environments
    """
    for place, wrapper in enumerate(layers(env)):
        for index, (holder, key) in enumerate(_rows(wrapper)):
            parts = [part.rows[place][index] for part in of_shares]
            if all(part is not None for part in parts):
                holder[key] = np.concatenate(parts)
    for index, (_, _, statistics) in enumerate(running_statistics(env)):
        merge(statistics.copy(), statistics, [part.moments[index] for part in of_shares])


def note_episodes(env: VecEnv, infos: Sequence[Sequence[dict[str, Any]]], dones: np.ndarray) -> None:
    """What a VecMonitor here counts and writes of a segment.

    :param env: all environments in their wrappers
    :param infos: of each step
    :param dones: ``[n_steps, n_envs]``
    """
    for monitor in (wrapper for wrapper in layers(env) if type(wrapper) is VecMonitor):
        for step, row in np.argwhere(dones):
            monitor.episode_count += 1
            if monitor.results_writer is not None:
                monitor.results_writer.write_row(infos[step][row]["episode"])
