"""How fast a model learns whose environments are in worker processes, and where its time goes."""

import os
import time
from subprocess import Popen
from typing import Any

import numpy as np

from benchmarks.common.timing import hold_processes
from sb3_trpo import WorkerVecEnv


def workers_of(model: Any) -> list[Popen]:
    """None for environments in this process."""
    inner = model.env.unwrapped
    return inner._workers.processes if isinstance(inner, WorkerVecEnv) else []


def hold_workers(model: Any) -> None:
    """Give every worker a core."""
    hold_processes(workers_of(model))


def _worker_seconds(model: Any) -> float:
    """Processor time of the workers."""
    ticks = 0
    for process in workers_of(model):
        with open(f"/proc/{process.pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def learning_speed(model: Any, steps: int, spent: list[tuple[float, float]]) -> float:
    """Env steps a second.

    :param model: which goes on learning
    :param steps: env steps
    :param spent: gets the processor's seconds a step, here and in the workers
    """
    before, begin = model.num_timesteps, (time.perf_counter(), time.process_time(), _worker_seconds(model))
    model.learn(steps, reset_num_timesteps=False)
    taken = model.num_timesteps - before
    clock, here, there = np.array([time.perf_counter(), time.process_time(), _worker_seconds(model)]) - begin
    spent.append((here / taken, there / taken))
    return taken / clock
