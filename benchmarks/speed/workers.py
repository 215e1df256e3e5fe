"""Env steps a second of a whole ``learn()`` with its environments in worker processes.

With a task's tuned settings (or the defaults), in turn: our TRPO with all environments in this process, in one worker and in
two, sb3-contrib's TRPO with RL Zoo's settings, and a bare loop of one environment's ``step`` in one process. Medians of ratios
with the range of single rounds. Processor time is measured apart for this process (the serial part) and for the workers
together (the parallel part); with W workers that have a core each, a step takes the serial part and a W-th of the parallel
one.
"""

import time
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import in_turn, spread
from benchmarks.common.training import ALGORITHMS, make_model, settings_for
from benchmarks.common.worker_speed import hold_workers, learning_speed
from sb3_trpo import WorkerVecEnv

STORE = Rows("speed/workers")
ROUNDS, STEPS = 3, 4096  # env steps of each run
DEFAULTS = "Hopper-v5, default settings, 8 environments"
TASKS = ("HalfCheetah-v5", "Swimmer-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5", DEFAULTS)
VARIANTS = {"sb3_contrib": None, "in this process": 0, "one worker": 1, "two workers": 2}
CORES = (2, 4, 8, 16, 64)


def model_for(task: str, n_workers: int | None) -> Any:
    """Of ours with so many workers, or of sb3-contrib's for None."""
    env_id, algo = task.partition(",")[0], "sb3_contrib" if n_workers is None else "sb3_trpo"
    settings = {"n_envs": 8, "n_steps": 256} if task == DEFAULTS else settings_for(algo, env_id)
    options: dict[str, Any] = {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"n_workers": n_workers}} if n_workers else {}
    model = make_model(ALGORITHMS[algo], env_id, settings, 0, **options).learn(1)
    hold_workers(model)
    return model


def bare_speed(env_id: str, spent: list[tuple[float, float]]) -> float:
    """Steps a second of ``env.step`` with actions drawn beforehand, resets included."""
    env = gym.make(env_id)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(STEPS)]
    env.reset(seed=0)
    begin = time.perf_counter(), time.process_time()
    for action in actions:
        outputs = env.step(action)
        if outputs[2] or outputs[3]:
            env.reset()
    clock, here = np.array([time.perf_counter(), time.process_time()]) - begin
    env.close()
    spent.append((here / STEPS, 0.0))
    return STEPS / clock


def measure(cell: Cell) -> dict[str, Any]:
    models = {name: model_for(cell.task, n_workers) for name, n_workers in VARIANTS.items()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in (*VARIANTS, "bare")}
    measures = {name: partial(learning_speed, model, STEPS, spent[name]) for name, model in models.items()}
    measures["bare"] = partial(bare_speed, cell.task.partition(",")[0], spent["bare"])
    speeds = in_turn(ROUNDS, measures)
    for model in models.values():
        model.env.close()
    ours = VARIANTS.keys() - {"sb3_contrib"}
    return {
        "over sb3_contrib": {name: spread(speeds[name] / speeds["sb3_contrib"]) for name in ours},
        "over a bare loop": {name: spread(speeds[name] / speeds["bare"]) for name in ours},
        "microseconds": {name: (1e6 * np.median(values, axis=0)).round(1).tolist() for name, values in spent.items()},
    }


def table() -> str:
    bare = "two workers, times a bare loop's steps/s"
    head = ["times sb3-contrib's steps/s", "one process", "one worker", "two workers", bare]
    rows = []
    for row in STORE.rows():
        contrib = row["over sb3_contrib"]
        cells = (markdown.ratio(contrib[name]) for name in ("in this process", "one worker", "two workers"))
        rows.append([row["task"], *cells, markdown.ratio(row["over a bare loop"]["two workers"], 2)])
    return markdown.table(head, rows)


def projection() -> str:
    """Processor time of each part, and from it the speed over sb3-contrib's with as many environments as cores."""
    rows = []
    for row in STORE.rows():
        spent = row["microseconds"]
        (serial, parallel), contrib = spent["two workers"], sum(spent["sb3_contrib"])
        ratios = (f"{contrib / (serial + parallel / cores):.1f}" for cores in CORES)
        rows.append([row["task"], f"{sum(spent['in this process']):.0f}", f"{serial:.0f}", f"{parallel:.0f}", *ratios])
    first, *others = (f"{cores} cores" for cores in CORES)
    head = ["µs an env step", "one process", "serial", "in workers", f"times sb3-contrib's steps/s with {first}", *others]
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=TASKS, tables={"workers": table, "workers_projection": projection})
