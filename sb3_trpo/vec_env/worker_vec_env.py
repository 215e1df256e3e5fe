"""Environments in worker processes, several to a process."""

import os
import warnings
import weakref
from collections.abc import Callable, Sequence
from mmap import mmap
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs

from sb3_trpo.checks import check_count
from sb3_trpo.processes import Workers, parts
from sb3_trpo.processes.messages import dump, dump_plain, load
from sb3_trpo.vec_env.registry import register, registered
from sb3_trpo.vec_env.worker_envs import EnvHost, Layout, shared_memory

PATIENCE = 10.0  # seconds for environments to finish the step in which they were interrupted


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerVecEnv(VecEnv):
    """Environments in worker processes, several to a process, for any algorithm of SB3's.

    Takes the place of ``SubprocVecEnv``: ``make_vec_env(env_id, 8, vec_env_cls=WorkerVecEnv)``. What it gives is what
    ``DummyVecEnv`` gives, bit for bit. No ``if __name__ == "__main__":`` is needed. The processes end when it is closed, when
    nothing refers to it any more, and when this process ends, however that happens.

    If an environment raises an error, or a process ends, all processes are ended; :meth:`reset`, which ``learn`` calls, starts
    new ones, with environments made anew. After an interruption the environments have ten seconds to finish their step; if
    they do not, :meth:`reset` makes them anew, too. Linux and macOS only.

    :param env_fns: functions that make the environments
    :param n_workers: processes, at least 1; None for as many as there are cores that this process may use. There are never
        more than environments
    :raises TypeError: if ``n_workers`` is not a whole number
    :raises ValueError: if it is less than 1, or there is no environment
    :raises Exception: if an environment cannot be made; the message says which one and why
    """

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]], n_workers: int | None = None):
        if n_workers is not None:
            check_count("n_workers", n_workers, 1)
        if not env_fns:
            raise ValueError("WorkerVecEnv was given no environments: give at least one function that makes one.")
        if os.name != "posix":
            raise ValueError(f"WorkerVecEnv knows no shared memory on {os.name!r}: use SubprocVecEnv.")
        shares = parts(len(env_fns), min(len(env_fns), n_workers or usable_cores()))
        self.slices = [slice(share.start, share.stop) for share in shares]
        self._place_of = [place for place, share in enumerate(shares) for _ in share]
        self._makers = [dump(list(env_fns[share])) for share in self.slices]
        self._memory = shared_memory()
        self._release = weakref.finalize(self, os.close, self._memory)
        self._start()
        found = self._call_all("description")
        observation_space, action_space, metadata = found[0]
        self._layout = Layout(observation_space, len(env_fns))
        for place, (other, *_) in found.items():
            if Layout(other, len(env_fns)).arrays != self._layout.arrays:
                self.close()
                raise ValueError(
                    f"Environment {self.slices[place].start} has the observation space {other}, environment 0 has "
                    f"{observation_space}: make all of them the same way."
                )
        os.ftruncate(self._memory, self._layout.size)
        self._shared = self._layout.views(mmap(self._memory, self._layout.size))
        self._attach()
        try:
            super().__init__(len(env_fns), observation_space, action_space)
        except BaseException:
            self.close()
            raise
        self.metadata = metadata

    def _start(self) -> None:
        specs, shares = registered(), zip(self._makers, self.slices, strict=True)
        makers = [(_made, (specs, data, share.start, self._memory)) for data, share in shares]
        advice = "All of them have been ended; reset() starts new ones, with environments made anew."
        self._workers = Workers(makers, "run environments", advice, [self._memory])

    def _attach(self) -> None:
        self._call_all("attach", self._layout)

    def _call_all(self, method: str, *arguments: Any) -> dict[int, Any]:
        """Results of a method of every worker's ``EnvHost``, by worker."""
        return self._workers.call(method, dict.fromkeys(range(len(self.slices)), arguments))

    def _by_worker(self, indices: Sequence[int]) -> dict[int, list[int]]:
        """Rows in their workers, by worker, of some environments."""
        rows: dict[int, list[int]] = {}
        for index in indices:
            place = self._place_of[index]
            rows.setdefault(place, []).append(index - self.slices[place].start)
        return rows

    def _in_order(self, results: dict[int, list[Any]], indices: Sequence[int]) -> list[Any]:
        """Results by worker, in the order in which environments were asked for."""
        of_worker = {place: iter(values) for place, values in results.items()}
        return [next(of_worker[self._place_of[index]]) for index in indices]

    def step_async(self, actions: np.ndarray) -> None:
        """
        Let all environments take a step.

        :param actions: one for each
        """
        self._make_ready()
        self._workers.send({place: dump_plain(("step", (actions[share],))) for place, share in enumerate(self.slices)})

    def step_wait(self) -> VecEnvStepReturn:
        """
        Wait for the step.

        :return: observations, rewards, whether episodes have ended, infos
        :raises Exception: if an environment fails: AttributeError, TypeError or ValueError if it has raised one, else
            RuntimeError; the message says which environment, and has the traceback
        :raises RuntimeError: if a process ends, the wait for this step was interrupted before, or there is no step
        """
        if self._workers.interrupted:
            raise RuntimeError("The wait for this step was interrupted, and a part of it is lost: call reset().")
        if not (self._workers.busy or self._workers.ended):
            raise RuntimeError("There is no step to wait for: call step_async(actions) before step_wait().")
        infos: list[dict[str, Any]] = []
        for place, (of_share, of_resets) in sorted(self._answers().items()):
            infos.extend(of_share)
            for row, info in of_resets.items():
                self.reset_infos[self.slices[place].start + row] = info
        return self._observations(), self._shared["rewards"].copy(), self._shared["dones"].copy(), infos

    def reset(self) -> VecEnvObs:
        """
        Reset all environments, in new processes if the former ones have ended.

        :return: observations
        """
        if self._workers.busy:
            self._workers.settle(PATIENCE)
        if self._release.alive and self._workers.ended:
            self._start()
            self._attach()
        self._make_ready()
        given = {place: (self._seeds[share], self._options[share]) for place, share in enumerate(self.slices)}
        self._workers.send({place: dump(("reset", arguments)) for place, arguments in given.items()})
        infos = self._answers()
        self.reset_infos = [info for place in sorted(infos) for info in infos[place]]
        self._reset_seeds()
        self._reset_options()
        return self._observations()

    def _answers(self) -> dict[int, Any]:
        """Replies of all; a failure of one environment leaves the others ahead of it, so it ends all of them."""
        try:
            return self._workers.receive()
        except Exception:
            self._workers.close()
            raise

    def _observations(self) -> VecEnvObs:
        arrays = {name[1]: array.copy() for name, array in self._shared.items() if isinstance(name, tuple)}
        return dict_to_obs(self.observation_space, arrays)

    def _make_ready(self) -> None:
        """Let them be ready for a request: after an interruption, wait until they are.

        :raises RuntimeError: if they are closed, have ended, or are at a step
        """
        if not self._release.alive:
            raise RuntimeError("The processes of this WorkerVecEnv were closed: make a new WorkerVecEnv.")
        if self._workers.interrupted:
            self._workers.settle(PATIENCE)
        if self._workers.ended:
            raise RuntimeError(
                "The processes of this WorkerVecEnv have ended: reset() starts new ones; a model that goes on with "
                "reset_num_timesteps=False needs set_env()."
            )
        if self._workers.busy:
            raise RuntimeError("The processes of this WorkerVecEnv are at a step: call step_wait() first.")

    def close(self) -> None:
        """
        Close the environments, however long that takes, and end the processes.

        Those that are at a step have ten seconds to finish it. Ctrl-C ends all of them at once.
        """
        if self._workers.busy:
            self._workers.settle(PATIENCE)
        self._workers.close()
        self._release()

    def call_cloneable(self, method: str, indices: Sequence[int], arguments: tuple = ()) -> list[Any]:
        """
        Results of a method of :class:`~sb3_trpo.simulators.CloneableEnv` for some environments, where they are.

        :param method: its name; the environments need not be wrapped
        :param indices: which environments
        :param arguments: of the method
        """
        self._make_ready()
        requests = {place: (method, arguments, rows) for place, rows in self._by_worker(indices).items()}
        return self._in_order(self._workers.call("call_cloneable", requests), indices)

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple]) -> list[Any]:
        """
        Let each worker call a function with its environments, what the function keeps there, and arguments of its own.

        :param function: that a module has
        :param arguments: for each worker
        :return: results, by worker
        :raises Exception: as :meth:`step_wait`
        """
        self._make_ready()
        self._workers.send({place: dump_plain(("run", (function, *given))) for place, given in enumerate(arguments)})
        return [result for _, result in sorted(self._answers().items())]

    def _ask(self, method: str, /, *arguments: Any, indices: VecEnvIndices = None, **named: Any) -> list[Any]:
        """What DummyVecEnv's method gives for some environments, where they are."""
        self._make_ready()
        chosen = [range(self.num_envs)[index] for index in self._get_indices(indices)]
        requests = {place: (method, arguments, named, rows) for place, rows in self._by_worker(chosen).items()}
        return self._in_order(self._workers.call("ask", requests), chosen)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """
        An attribute of some environments, which is sent here.

        :param attr_name: its name
        :param indices: which environments; None for all
        """
        return self._ask("get_attr", attr_name, indices=indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """
        Set an attribute of some environments.

        :param attr_name: its name
        :param value: is sent there
        :param indices: which environments; None for all
        """
        self._ask("set_attr", attr_name, value, indices=indices)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """
        Call a method of some environments.

        :param method_name: its name
        :param method_args: its arguments
        :param indices: which environments; None for all
        :param method_kwargs: its arguments by name
        :return: results, which are sent here
        """
        return self._ask("env_method", method_name, *method_args, indices=indices, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """
        Whether environments have a wrapper.

        :param wrapper_class: its class
        :param indices: which environments; None for all
        """
        return self._ask("env_is_wrapped", wrapper_class, indices=indices)

    def has_attr(self, attr_name: str) -> bool:
        """
        Whether all environments have an attribute, which may be one that cannot be sent.

        :param attr_name: its name
        """
        self._make_ready()
        return all(self._call_all("has_attr", attr_name).values())

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Images of all environments; None for each if they do not make any."""
        if self.render_mode != "rgb_array":
            warnings.warn(f"The render mode is {self.render_mode}, but only with 'rgb_array' are there images.")
            return [None] * self.num_envs
        return self.env_method("render")

    def __deepcopy__(self, memo: dict[int, Any]) -> "WorkerVecEnv":
        raise TypeError(
            "A WorkerVecEnv cannot be copied, because its environments live in processes: make a second one, and bring it "
            "into the same state with sb3_trpo.vec_env.clone_rows and restore_rows."
        )


def _made(specs: list[bytes], makers: bytes, first: int, memory: int) -> EnvHost:
    register(specs)
    return EnvHost(load(makers), first, memory)
