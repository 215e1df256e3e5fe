"""Several ranks instead of one process: env steps a second, what they tell each other, and what that makes of many more.

The same script, TRPO with its defaults on one Hopper-v5 environment, learns as one process and as two ranks in turn: with one
process's minibatches and with minibatches twice as large. Two processes at once that know nothing of each other show what
the machine has to give. Each process has a core of its own, and none of its threads pushes another aside (``chrt --batch 0``:
gloo's do, and then spin until the kernel's next tick for a lock that the other one holds).
Reductions are counted and timed where TRPO calls torch.distributed, on the first rank. The projection is arithmetic on these
measurements; its model is in :func:`projected_seconds`.
"""

import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.statistics import median_and_range
from benchmarks.speed.rank import NETWORKS, STEPS

STORE = Rows("distributed/ranks")
UPDATES = 10  # that are timed in each run
BATCH_SIZES = (128, 256)  # one process's, and as much for each of two ranks
RANKS = (2, 8, 64, 1024)
NETWORK_LATENCY, NETWORK_BANDWIDTH = 30e-6, 1.25e9  # assumed: seconds a message between machines; bytes/s, 10 Gbit/s


def started(size: int, network: str, batch_size: int, core: int = 0) -> subprocess.Popen:
    """So many ranks, which rank 0 reports of; a single process runs on this core."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)] if size > 1 else []
    command = [
        "chrt",
        "--batch",
        "0",
        sys.executable,
        *launcher,
        "-m",
        "benchmarks.speed.rank",
        network,
        str(batch_size),
        str(UPDATES),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LOCAL_RANK": str(core)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def report_of(process: subprocess.Popen) -> dict[str, Any]:
    output, _ = process.communicate()
    return json.loads(output.splitlines()[-1])


def measure(cell: Cell) -> dict[str, Any]:
    """One round: a process, two that know nothing of each other, and two ranks with each of the batch sizes."""
    one = report_of(started(1, cell.task, BATCH_SIZES[0]))
    both = [started(1, cell.task, BATCH_SIZES[0], core) for core in (0, 1)]
    apart = sum(report_of(process)["steps_per_second"] for process in both) / one["steps_per_second"]
    ranks = {str(batch_size): report_of(started(2, cell.task, batch_size)) for batch_size in BATCH_SIZES}
    return {"one": one, "apart": apart, "ranks": ranks}


def rounds(network: str) -> list[dict[str, Any]]:
    return [row for row in STORE.rows() if row["task"] == network]


def median(network: str, batch_size: int, key: str) -> float:
    """Of a number that two ranks report."""
    return float(np.median([row["ranks"][str(batch_size)][key] for row in rounds(network)]))


def speed_table() -> str:
    rows = []
    for network in NETWORKS:
        found = rounds(network)
        apart = median_and_range([row["apart"] for row in found])
        for size in BATCH_SIZES:
            ratios = [row["ranks"][str(size)]["steps_per_second"] / row["one"]["steps_per_second"] for row in found]
            parameters = f"{median(network, size, 'parameters'):,.0f}"
            rows.append([parameters, str(size), f"**{median_and_range(ratios)}**", apart])
    head = [
        "parameters",
        "batch_size",
        "two ranks on Hopper-v5: times one process's steps/s",
        "two processes that share nothing",
    ]
    return markdown.table(head, rows)


def communication_table() -> str:
    rows = []
    for network in NETWORKS:
        for size in BATCH_SIZES:
            calls, seconds = (median(network, size, key) for key in ("calls", "communication_seconds"))
            shares = [row["ranks"][str(size)]["share"] for row in rounds(network)]
            cells = (
                f"{calls:.0f}",
                f"{median(network, size, 'bytes') / 1000:,.0f}",
                f"{1e3 * seconds:.1f}",
                f"**{np.median(shares):.0%}** ({min(shares):.0%}–{max(shares):.0%})",
                f"{1e3 * seconds / calls:.2f}",
            )
            rows.append([f"{median(network, size, 'parameters'):,.0f} parameters", str(size), *cells])
    head = ["an update of two ranks", "batch_size", "calls", "kB", "ms in them", "of the update", "ms a reduction"]
    return markdown.table(head, rows)


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


def projection_table() -> str:
    """The speed-up of more ranks, from the medians of the rounds with the small network."""
    network, size = next(iter(NETWORKS)), BATCH_SIZES[0]
    alone = float(np.median([row["one"]["steps_per_second"] for row in rounds(network)]))
    two = {key: median(network, size, key) for key in ("calls", "parameters")}
    reductions = [row["ranks"][str(size)]["reduction_seconds"]["5000"] for row in rounds(network)]
    two["reduction"] = float(np.median(reductions))
    rows = []
    for ranks in RANKS:
        messages = (2 * math.ceil(math.log2(ranks)), 2 * (ranks - 1))
        speed_ups = (ranks * STEPS / alone / projected_seconds(alone, two, m) for m in messages)
        rows.append([f"{ranks:,}", *(f"{speed_up:,.1f}" for speed_up in speed_ups)])
    return markdown.table(["ranks", "speed-up, messages along a tree", "along a ring"], rows)


STUDY = Study(
    run=measure,
    store=STORE,
    tasks=NETWORKS,
    seeds=tuple(range(5)),
    alternated=True,
    tables={"ranks_speed": speed_table, "ranks_communication": communication_table, "ranks_projection": projection_table},
)
