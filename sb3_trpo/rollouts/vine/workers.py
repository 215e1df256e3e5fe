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
from typing import IO, Any

import cloudpickle
import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.rollouts.vine.branches import Branch, BranchRules, Outcomes, run_branches
from sb3_trpo.rollouts.vine.envs import BranchEnvs, WrapperStages
from sb3_trpo.simulators import copy_env

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


def _anatomy(policy: ActorCriticPolicy) -> list[str]:
    """What decides, besides its weights, what a policy does: its modules, and what is hooked or put into them."""
    parts = []
    for name, module in policy.named_modules():
        hooks = len(module._forward_hooks), len(module._forward_pre_hooks)
        put_in = sorted(key for key, value in vars(module).items() if callable(value) and hasattr(type(module), key))
        parts.append(f"{name} {type(module).__name__}({module.extra_repr()}) {hooks} {put_in}")
    return parts


def serve() -> None:
    """Run branches until the other side closes the pipe: what a worker does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever an environment prints must not get between the results
    th.set_num_threads(1)
    try:
        start = _receive(jobs)
        if start is None:
            return
        template, policy_class, arguments, rows = cloudpickle.loads(start)
        envs = [template, *(copy_env(template) for _ in range(rows - 1))]
        policy = policy_class(**arguments).to("cpu")
        policy.set_training_mode(False)
        gc.freeze()  # each job brings and takes thousands of objects, and would have the collector go through all others too
        while (job := _receive(jobs)) is not None:
            weights, anatomy, stages, branches, rules = pickle.loads(job)
            if _anatomy(policy) != anatomy:
                raise ValueError(
                    "The policy is not what its class and policy_kwargs make: something was hooked or put into it afterwards, "
                    "which other processes cannot know of. Do that in the constructor of a policy class."
                )
            policy.load_state_dict(weights)
            _send(results, pickle.dumps(run_branches(policy, BranchEnvs(envs, stages), branches, rules)))
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
        arguments = policy._get_constructor_parameters()
        if not policy.share_features_extractor:  # which SB3 does not count among them
            arguments["share_features_extractor"] = False
        start = cloudpickle.dumps((template, type(policy), arguments, rows))
        # What is pickled by name must be found there too, wherever this process found it
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) for _ in range(count)
        ]
        self.close = weakref.finalize(self, _end, self.processes)
        for process in self.processes:
            self._send(process, start)

    def run(
        self, policy: ActorCriticPolicy, stages: WrapperStages, branches: Sequence[Branch], rules: BranchRules
    ) -> Outcomes:
        """What :func:`run_branches` gives, the branches in as many parts as there are processes.

        :raises RuntimeError: if a process fails or ends; all of them are ended then, as they are when this is interrupted
        """
        weights, anatomy = {name: value.cpu() for name, value in policy.state_dict().items()}, _anatomy(policy)
        bounds = np.linspace(0, len(branches), len(self.processes) + 1).astype(int)
        try:
            for process, begin, end in zip(self.processes, bounds[:-1], bounds[1:], strict=True):
                self._send(process, pickle.dumps((weights, anatomy, stages, branches[begin:end], rules)))
            parts = [self._receive(process) for process in self.processes]
        except BaseException:
            self.close()
            raise
        return Outcomes(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _send(self, process: subprocess.Popen, message: bytes) -> None:
        try:
            _send(process.stdin, message)  # type: ignore[arg-type]
        except OSError:  # it has ended, and may have said why
            self._receive(process)

    def _receive(self, process: subprocess.Popen) -> Outcomes:
        message = _receive(process.stdout)  # type: ignore[arg-type]
        result: Any = None if message is None else pickle.loads(message)
        if isinstance(result, Outcomes):
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
