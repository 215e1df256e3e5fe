"""Other processes that run branches, each with its own environments and its own copy of the policy.

They are plain Python processes that read jobs from their standard input and write what came of them to their standard
output, so they need no ``if __name__ == "__main__"`` around the user's script, work from notebooks, and end when this
process does, however it ends. Branches are dealt out by their number, so results do not depend on who is faster.
"""

import gc
import os
import pickle
import signal
import subprocess
import sys
import traceback
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple

import cloudpickle
import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_trpo.policy.copies import contents, fill, recipe
from sb3_trpo.sampling.vine.branches import Branch, BranchRules, Outcomes, run_branches
from sb3_trpo.sampling.vine.envs import BranchEnvs
from sb3_trpo.sampling.vine.outputs import compare, outputs
from sb3_trpo.sampling.vine.trials import parts
from sb3_trpo.simulators import copy_env
from sb3_trpo.vec_env import WrapperStages

_LENGTH_BYTES = 8


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the other side is gone."""
    length = stream.read(_LENGTH_BYTES)
    message = stream.read(int.from_bytes(length, "big")) if len(length) == _LENGTH_BYTES else b""
    return message if len(length) == _LENGTH_BYTES and len(message) == int.from_bytes(length, "big") else None


class _Surroundings(NamedTuple):
    """What a process has to itself and another one can be given."""

    directory: str | None
    environment: dict[str, str]
    dtype: th.dtype
    recursion_limit: int

    @classmethod
    def here(cls) -> "_Surroundings":
        try:
            directory = os.getcwd()
        except FileNotFoundError:  # it was removed
            directory = None
        return cls(directory, dict(os.environ), th.get_default_dtype(), sys.getrecursionlimit())

    def take_on(self) -> None:
        if self.directory is not None:
            os.chdir(self.directory)
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        th.set_default_dtype(self.dtype)
        sys.setrecursionlimit(self.recursion_limit)


def serve() -> None:
    """Run branches until the other side closes the pipe: what a worker does."""
    for name in (
        "SIGINT",
        "SIGTERM",
        "SIGUSR1",
    ):  # Ctrl-C, or a scheduler's signal, reaches all processes; the first one decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever an environment prints must not get between the results
    th.set_num_threads(1)
    try:
        start = _receive(jobs)
        if start is None:
            return
        surroundings, data = pickle.loads(start)
        surroundings.take_on()
        template, (policy_class, arguments), rows = cloudpickle.loads(data)
        envs = [template, *(copy_env(template) for _ in range(rows - 1))]
        policy = policy_class(**arguments).to("cpu")
        policy.set_training_mode(False)
        gc.freeze()  # each job brings and takes thousands of objects, and would have the collector go through all others too
        while (job := _receive(jobs)) is not None:
            surroundings, given, stages, rules, examples = pickle.loads(job)
            surroundings.take_on()
            fill(policy, given)
            branches = pickle.loads(_receive(jobs) or b"")
            result = run_branches(policy, BranchEnvs(envs, stages), branches, rules), outputs(policy, *examples)
            _send(results, pickle.dumps(result))
    except Exception:
        _send(results, pickle.dumps(traceback.format_exc()))


class BranchWorkers:
    """Processes that run branches.

    :param template: environment to copy, with its wrappers
    :param policy: acts; its weights are sent with every job
    :param rows: environments in each process
    :param count: processes
    """

    def __init__(self, template: gym.Env, policy: ActorCriticPolicy, rows: int, count: int):
        start = pickle.dumps((_Surroundings.here(), cloudpickle.dumps((template, recipe(policy), rows))))
        # What is pickled by name must be found there too, wherever this process found it
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        command = [sys.executable, *["-O"] * sys.flags.optimize, "-c", f"from {__name__} import serve; serve()"]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) for _ in range(count)
        ]
        self.close = weakref.finalize(self, _end, self.processes)
        for process in self.processes:
            self._send(process, start)

    def run(
        self,
        policy: ActorCriticPolicy,
        stages: WrapperStages,
        branches: Sequence[Branch],
        rules: BranchRules,
        examples: tuple[PyTorchObs, th.Tensor],
    ) -> Outcomes:
        """What :func:`run_branches` gives, the branches in as many parts as there are processes.

        :param examples: observations and actions to try the policy with
        :raises RuntimeError: if a process fails or ends, or has another policy; all of them are ended then, as they are when
            this is interrupted
        """
        observations, actions = examples
        tensors = (
            {key: part.cpu() for key, part in observations.items()} if isinstance(observations, dict) else observations.cpu()
        )
        common = pickle.dumps((_Surroundings.here(), contents(policy), stages, rules, (tensors, actions.cpu())))
        busy = [part for part in zip(self.processes, parts(len(branches), len(self.processes)), strict=True) if part[1]]
        try:
            for process, part in busy:
                self._send(process, common)
                self._send(process, pickle.dumps(branches[part.start : part.stop]))
            expected = outputs(policy, observations, actions)
            results = [self._receive(process) for process, _ in busy]
            for _, found in results:
                compare(policy, expected, found)
        except BaseException:
            self.close()
            raise
        return Outcomes.joined([outcomes for outcomes, _ in results])

    def _send(self, process: subprocess.Popen, message: bytes) -> None:
        try:
            _send(process.stdin, message)  # type: ignore[arg-type]
        except OSError:  # it has ended, and may have said why
            self._receive(process)

    def _receive(self, process: subprocess.Popen) -> tuple[Outcomes, dict[str, np.ndarray]]:
        message = _receive(process.stdout)  # type: ignore[arg-type]
        result: Any = None if message is None else pickle.loads(message)
        if isinstance(result, tuple):
            return result
        raise self._failure(process, result or "")

    def _failure(self, process: subprocess.Popen, report: str) -> RuntimeError:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
        return RuntimeError(
            f"A process that runs branches ended in the middle of them (exit status {process.returncode}). Training has "
            f"stopped; vine_kwargs={{'n_workers': 0}} runs branches in this process.\n{report}"
        )


def _end(processes: list[subprocess.Popen]) -> None:
    """End processes and wait until they are gone."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
