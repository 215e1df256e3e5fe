"""One of the processes that ``ranks`` measures: it learns, counts what it tells other ranks, and rank 0 prints a report."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch as th
import torch.distributed as dist

from sb3_trpo import TRPO

STEPS = 2048  # env steps of an update, of each rank
NETWORKS = {"64-64": [64, 64], "400-400": [400, 400]}


class Meter:
    """Counts, bytes and seconds of a process's calls to torch.distributed, and the seconds of its updates."""

    def __init__(self) -> None:
        self.calls, self.bytes, self.seconds = 0, 0, 0.0
        self.waiting = self.updates = 0.0

    def in_step(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(output: Any, *args: Any, **kwargs: Any) -> Any:
            tensors = output if isinstance(output, list) else [output]
            begin = time.perf_counter()
            function(output, *args, **kwargs)
            self.seconds += time.perf_counter() - begin
            self.calls += 1
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)

        return wrapper

    def train(self, model: TRPO) -> Callable[[], None]:
        update, gather = model.train, model._ranks.gather

        def waiting(report: Any) -> list[Any]:
            begin = time.perf_counter()
            reports = gather(report)
            self.waiting += time.perf_counter() - begin
            return reports

        def wrapper() -> None:
            begin = time.perf_counter()
            with patch.object(model._ranks, "gather", waiting):
                update()
            self.updates += time.perf_counter() - begin

        return wrapper


def learn(network: str, batch_size: int, updates: int) -> dict[str, Any]:
    """Env steps a second of one of the ranks that torchrun has started, or of one process, and what it communicated."""
    th.set_num_threads(1)
    os.sched_setaffinity(0, {int(os.environ.get("LOCAL_RANK", 0))})  # a core of its own
    size = int(os.environ.get("WORLD_SIZE", 1))
    steps = updates * STEPS * size
    settings: dict[str, Any] = {"n_steps": STEPS, "batch_size": batch_size, "policy_kwargs": {"net_arch": NETWORKS[network]}}
    model = TRPO("MlpPolicy", "Hopper-v5", seed=0, device="cpu", **settings)
    model.learn(2 * STEPS * size)
    begin = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    result: dict[str, Any] = {"steps_per_second": steps / (time.perf_counter() - begin)}
    if size == 1:
        return result
    meter = Meter()
    model.train = meter.train(model)  # type: ignore[method-assign]
    with (
        patch.object(dist, "all_reduce", meter.in_step(dist.all_reduce)),
        patch.object(dist, "all_gather", meter.in_step(dist.all_gather)),
    ):
        model.learn(steps, reset_num_timesteps=False)
    update = (meter.updates - meter.waiting) / updates
    result |= {"calls": meter.calls / updates, "bytes": meter.bytes / updates, "update_seconds": update}
    result |= {"communication_seconds": meter.seconds / updates, "share": meter.seconds / updates / update}
    result["parameters"] = sum(p.numel() for name, p in model.policy.named_parameters() if "value" not in name)
    result["reduction_seconds"] = {"5000": reduction(5_000)}  # about the parameters of the smaller network
    return result


def reduction(count: int, repeats: int = 300) -> float:
    """Seconds of adding up so many numbers over the ranks, median."""
    values, seconds = th.zeros(count), []
    for _ in range(repeats):
        begin = time.perf_counter()
        dist.all_reduce(values)
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


if __name__ == "__main__":
    report = learn(sys.argv[1], *map(int, sys.argv[2:]))
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(report))
