"""What a worker process does with its environments: it keeps some rows of a VecEnv whose other rows are elsewhere."""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from mmap import mmap
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from stable_baselines3.common.vec_env.util import obs_space_info

from sb3_trpo.processes.messages import WorkerError
from sb3_trpo.simulators import CloneableEnv
from sb3_trpo.vec_env.shallow_copies import outputs, step_row

ALIGNMENT = 64  # bytes, of arrays in shared memory


def shared_memory() -> int:
    """Descriptor of a file without a name, beyond those of the standard streams, which may be closed."""
    import fcntl  # Windows has none

    if hasattr(os, "memfd_create"):
        file = os.memfd_create("observations")
    else:
        file, path = tempfile.mkstemp()
        os.unlink(path)
    try:
        return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(file)


ERRORS = (Exception, SystemExit)  # of an environment, in whatever it does: one that calls sys.exit() is named, too


class Layout:
    """Where observations, rewards and ends of episodes of all environments lie in shared memory.

    :param space: of one environment's observations
    :param n_envs: environments
    """

    def __init__(self, space: spaces.Space, n_envs: int):
        keys, shapes, dtypes = obs_space_info(space)
        self.arrays: dict[Any, tuple[tuple[int, ...], Any]] = {
            ("obs", key): ((n_envs, *shapes[key]), dtypes[key]) for key in keys
        }
        self.arrays |= {"rewards": ((n_envs,), np.float32), "dones": ((n_envs,), bool)}
        self.size, self.offsets = 0, {}
        for name, (shape, dtype) in self.arrays.items():
            self.offsets[name] = self.size
            self.size += -(-max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize) // ALIGNMENT) * ALIGNMENT

    def views(self, memory: mmap) -> dict[Any, np.ndarray]:
        """The arrays."""
        return {name: np.ndarray(shape, dtype, memory, self.offsets[name]) for name, (shape, dtype) in self.arrays.items()}


class HostedRows(DummyVecEnv):
    """A worker's environments, as a VecEnv that says which of all environments has failed.

    :param makers: functions that make the environments
    :param first: number of the first one among all environments
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env]], first: int):
        self.first = first
        self._at = 0
        try:
            super().__init__([partial(self._make, at, maker) for at, maker in enumerate(makers)])
        except WorkerError:
            raise
        except ERRORS as error:
            raise self.failure("be made", error) from error

    def _make(self, at: int, maker: Callable[[], gym.Env]) -> gym.Env:
        self._at = at
        return maker()

    def failure(self, what: str, error: BaseException) -> WorkerError:
        """An error of the environment that was last attended to."""
        return WorkerError(f"Environment {self.first + self._at} could not {what}: {type(error).__name__}: {error}")

    def step_rows(self) -> None:
        """Step every environment, and reset those whose episode has ended; the buffers have what came of it."""
        try:
            for row in range(self.num_envs):
                self._at = row
                step_row(self, row)
        except ERRORS as error:
            raise self.failure("step", error) from error

    def step_wait(self) -> VecEnvStepReturn:
        self.step_rows()
        return outputs(self)

    def reset_rows(self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]) -> None:
        """Reset every environment; the buffers have what came of it."""
        try:
            for row, (env, seed, chosen) in enumerate(zip(self.envs, seeds, options, strict=True)):
                self._at = row
                obs, self.reset_infos[row] = env.reset(seed=seed, **({"options": chosen} if chosen else {}))
                self._save_obs(row, obs)
        except ERRORS as error:
            raise self.failure("be reset", error) from error


class EnvHost:
    """What a worker of a :class:`~sb3_trpo.vec_env.WorkerVecEnv` keeps.

    :param makers: of its environments
    :param first: number of the first of them among all environments
    :param memory: file descriptor of what is shared
    """

    def __init__(self, makers: Sequence[Callable[[], gym.Env]], first: int, memory: int):
        self.rows, self.memory = HostedRows(makers, first), memory
        self.kept: dict[str, Any] = {}
        self._cloneable = [env if type(env) is CloneableEnv else CloneableEnv(env) for env in self.rows.envs]

    def description(self) -> tuple[spaces.Space, spaces.Space, dict[str, Any]]:
        """Spaces of observations and actions, and metadata, of its first environment."""
        return self.rows.observation_space, self.rows.action_space, self.rows.metadata

    def attach(self, layout: Layout) -> None:
        """Put outputs into shared memory from now on."""
        views = layout.views(mmap(self.memory, layout.size))
        mine = slice(self.rows.first, self.rows.first + self.rows.num_envs)
        for key in self.rows.keys:
            self.rows.buf_obs[key] = views["obs", key][mine]
        self.rows.buf_rews, self.rows.buf_dones = views["rewards"][mine], views["dones"][mine]

    def step(self, actions: np.ndarray) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
        """Infos, and by row those of the resets."""
        rows = self.rows
        rows.actions = actions
        rows.step_rows()
        return rows.buf_infos, {int(row): rows.reset_infos[row] for row in np.flatnonzero(rows.buf_dones)}

    def reset(self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Infos."""
        self.rows.reset_rows(seeds, options)
        return self.rows.reset_infos

    def ask(self, method: str, arguments: tuple, named: dict[str, Any], indices: Sequence[int]) -> list[Any]:
        """What a method of a VecEnv says of some rows."""
        results = []
        for self.rows._at in indices:
            results.append(self._said(method, partial(getattr(self.rows, method), *arguments, indices=self.rows._at, **named)))
        return [None if result is None else result[0] for result in results]

    def has_attr(self, name: str) -> bool:
        """Whether all environments have an attribute."""
        return self.rows.has_attr(name)

    def call_cloneable(self, method: str, arguments: tuple, indices: Sequence[int]) -> list[Any]:
        """Results of a method of CloneableEnv for some rows."""
        results = []
        for self.rows._at in indices:
            results.append(self._said(method, partial(getattr(self._cloneable[self.rows._at], method), *arguments)))
        return results

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function gives, of the environments, what it keeps from one call to the next, and other arguments."""
        return function(self.rows, self.kept, *arguments)

    def _said(self, what: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except ERRORS as error:
            raise self.rows.failure(f"answer {what}", error) from error

    def close(self) -> None:
        """Close the environments."""
        self.rows.close()
