"""Several ranks instead of one process: env steps a second, what they tell each other, and what that makes of many more.

    python -m benchmarks.ranks

The same script, TRPO with its defaults on one Hopper-v5 environment, learns as one process and as two ranks in turn: with one
process's minibatches and with minibatches twice as large. Two processes at once that know nothing of each other show what
the machine has to give. Each process has a core of its own, and none of its threads pushes another aside (``chrt --batch 0``:
gloo's do, and then spin until the kernel's next tick for a lock that the other one holds).
Reductions are counted and timed where TRPO calls torch.distributed, on the first rank. The projection is arithmetic on these
measurements; its model is in :func:`projected_seconds`.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch as th
import torch.distributed as dist

from benchmarks.environment import RESULTS, describe
from benchmarks.statistics import median_and_range
from sb3_trpo import TRPO

FOLDER = RESULTS / "distributed"
STEPS = 2048  # env steps of an update, of each rank
NETWORKS = {"64-64": [64, 64], "400-400": [400, 400]}
BATCH_SIZES = (128, 256)  # one process's, and as much for each of two ranks
RANKS = (2, 8, 64, 1024)
NETWORK_LATENCY, NETWORK_BANDWIDTH = 30e-6, 1.25e9  # assumed: seconds a message between machines; bytes/s, 10 Gbit/s


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
    result["reduction_seconds"] = {str(count): reduction(count) for count in (1, 5_000, 170_000)}
    return result


def reduction(count: int, repeats: int = 300) -> float:
    """Seconds of adding up so many numbers over the ranks, median."""
    values, seconds = th.zeros(count), []
    for _ in range(repeats):
        begin = time.perf_counter()
        dist.all_reduce(values)
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))


def started(size: int, network: str, batch_size: int, updates: int, core: int = 0) -> subprocess.Popen:
    """So many ranks, which rank 0 reports of; a single process runs on this core."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)] if size > 1 else []
    options = ["--network", network, "--batch-size", str(batch_size), "--updates", str(updates)]
    command = ["chrt", "--batch", "0", sys.executable, *launcher, "-m", "benchmarks.ranks", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LOCAL_RANK": str(core)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def report_of(process: subprocess.Popen) -> dict[str, Any]:
    output, _ = process.communicate()
    return json.loads(output.splitlines()[-1])


def one_round(network: str, updates: int) -> dict[str, Any]:
    """One process, two that know nothing of each other, and two ranks with each of the batch sizes."""
    one = report_of(started(1, network, BATCH_SIZES[0], updates))
    apart = [report_of(process) for process in [started(1, network, BATCH_SIZES[0], updates, core) for core in (0, 1)]]
    ranks = [report_of(started(2, network, batch_size, updates)) for batch_size in BATCH_SIZES]
    return {"one": one, "apart": sum(process["steps_per_second"] for process in apart), "ranks": ranks}


def projected_seconds(steps_per_second: float, two: dict[str, float], messages: int) -> float:
    """Of one iteration of N ranks, each with the rollout that one process has here, and minibatches N times as large.

    What every rank does for itself takes what it takes one process. Of the calls of an update each takes, for b bytes,
    m (latency + b / bandwidth) between machines, m messages in turn, and once what it takes between two ranks here.

    :param steps_per_second: of one process
    :param two: calls in an update, seconds of a reduction and parameters, of two ranks
    :param messages: m, for N ranks
    """
    passes, minibatches = 10, STEPS // 128
    calls = two["calls"] + passes * minibatches  # the critic's gradients are added up, too: its data would be N times as large
    each = NETWORK_LATENCY + 4 * two["parameters"] / NETWORK_BANDWIDTH
    return STEPS / steps_per_second + calls * (two["reduction"] + messages * each)


def save(name: str, rows: Any, lines: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = {**describe(), "rows": rows, "table": "\n".join(lines)}
    (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print("\n".join(lines), flush=True)


def measure(rounds: int, updates: int) -> None:
    speed: list[dict[str, Any]] = []
    traffic: list[dict[str, Any]] = []
    speed_lines = [
        "| parameters | batch_size | two ranks on Hopper-v5: times one process's steps/s | two processes that share nothing |",
        "|---|---|---|---|",
    ]
    traffic_lines = [
        "| an update of two ranks | batch_size | calls | kB | ms in them | of the update | ms a reduction |",
        "|---|---|---|---|---|---|---|",
    ]
    rounds_of = {network: [one_round(network, updates) for _ in range(rounds)] for network in NETWORKS}
    for network, runs in rounds_of.items():
        alone = [run["one"]["steps_per_second"] for run in runs]
        apart = [run["apart"] / one for run, one in zip(runs, alone, strict=True)]
        for i, batch_size in enumerate(BATCH_SIZES):
            pairs = [(run["one"], run["ranks"][i]) for run in runs]
            ratios = [two["steps_per_second"] / one["steps_per_second"] for one, two in pairs]
            parameters = f"{pairs[0][1]['parameters']:,}"
            speed.append({"network": network, "batch_size": batch_size, "ratios": ratios, "apart": apart, "rounds": pairs})
            row = f"{parameters} | {batch_size} | **{median_and_range(ratios)}** | {median_and_range(apart)}"
            speed_lines.append(f"| {row} |")
            middle = {
                key: float(np.median([two[key] for _, two in pairs])) for key in pairs[0][1] if key != "reduction_seconds"
            }
            middle["one_reduction"] = float(np.median([two["reduction_seconds"]["5000"] for _, two in pairs]))
            traffic.append({"network": network, "batch_size": batch_size, **middle})
            shares = [two["share"] for _, two in pairs]
            cells = (
                f"{middle['calls']:.0f}",
                f"{middle['bytes'] / 1000:,.0f}",
                f"{1e3 * middle['communication_seconds']:.1f}",
                f"**{middle['share']:.0%}** ({min(shares):.0%}–{max(shares):.0%})",
                f"{1e3 * middle['communication_seconds'] / middle['calls']:.2f}",
            )
            traffic_lines.append(f"| {parameters} parameters | {batch_size} | " + " | ".join(cells) + " |")
    save("ranks_speed", speed, speed_lines)
    save("ranks_communication", traffic, traffic_lines)
    project(speed[0]["rounds"])


def project(rounds: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """The speed-up of more ranks, from the medians of these rounds of one process and two ranks."""
    alone = float(np.median([one["steps_per_second"] for one, _ in rounds]))
    two = {key: float(np.median([two[key] for _, two in rounds])) for key in ("calls", "parameters")}
    two["reduction"] = float(np.median([two["reduction_seconds"]["5000"] for _, two in rounds]))
    rows, lines = [], ["| ranks | speed-up, messages along a tree | along a ring |", "|---|---|---|"]
    for size in RANKS:
        seconds = [projected_seconds(alone, two, m) for m in (2 * math.ceil(math.log2(size)), 2 * (size - 1))]
        speed_ups = [size * STEPS / alone / each for each in seconds]
        rows.append({"ranks": size, "tree": speed_ups[0], "ring": speed_ups[1]})
        lines.append(f"| {size:,} | {speed_ups[0]:,.1f} | {speed_ups[1]:,.1f} |")
    save("ranks_projection", rows, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=10, help="updates that are timed in each run")
    parser.add_argument("--network", choices=list(NETWORKS), help="be one of the processes measured")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZES[0])
    args = parser.parse_args()
    if args.network is None:
        measure(args.rounds, args.updates)
        return
    result = learn(args.network, args.batch_size, args.updates)
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
