"""Env steps a second of a whole ``learn()`` with its environments in worker processes.

With a task's tuned settings (or the defaults), in turn: our TRPO with all environments in this process, in one worker and in
two, sb3-contrib's TRPO with RL Zoo's settings, and a bare loop of one environment's ``step`` in one process. Medians of ratios
with the range of single rounds. Processor time is measured apart for this process (the serial part) and for the workers
together (the parallel part); with W workers that have a core each, a step takes the serial part and a W-th of the parallel
one.
"""

import os
import resource
import time
from functools import partial
from subprocess import Popen
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import hold_processes, in_turn, spread
from benchmarks.common.training import ALGORITHMS, policy_kwargs_of, settings_for
from sb3_trpo import WorkerVecEnv

STORE = Rows("speed/workers")
ROUNDS, STEPS = 3, 4096  # env steps of each run
DEFAULTS = "Hopper-v5, default settings, 8 environments"
TASKS = ("HalfCheetah-v5", "Swimmer-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5", DEFAULTS)
VARIANTS = {"sb3_contrib": None, "in this process": 0, "one worker": 1, "two workers": 2}
CORES = (2, 4, 8, 16, 64)


def model_for(task: str, n_workers: int | None) -> Any:
    """Of ours with so many workers, or of sb3-contrib's for None."""
    env_id = task.partition(",")[0]
    algo = "sb3_contrib" if n_workers is None else "sb3_trpo"
    settings: dict[str, Any] = (
        {"n_envs": 8, "n_steps": 256} if task == DEFAULTS else {"policy": "MlpPolicy", **settings_for(algo, env_id)}
    )
    settings.pop("n_timesteps", None)
    n_envs, normalize = settings.pop("n_envs", 1), settings.pop("normalize", False)
    options = {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"n_workers": n_workers}} if n_workers else {}
    env: VecEnv = make_vec_env(env_id, n_envs, 0, **options)  # type: ignore[arg-type]
    if normalize:
        env = VecNormalize(env, gamma=settings.get("gamma", 0.99))
    settings["policy_kwargs"] = policy_kwargs_of(settings)
    model = ALGORITHMS[algo](**{"policy": "MlpPolicy", **settings}, env=env, seed=0, device="cpu").learn(1)
    hold(model)
    return model


def hold(model: Any) -> None:
    """Give every worker a core."""
    hold_processes(_workers(model))


def _workers(model: Any) -> list[Popen]:
    inner = model.env.unwrapped
    return inner._workers.processes if isinstance(inner, WorkerVecEnv) else []


def _worker_seconds(model: Any) -> float:
    """Processor time of the workers."""
    ticks = 0
    for process in _workers(model):
        with open(f"/proc/{process.pid}/stat") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def speed(model: Any, spent: list[tuple[float, float]]) -> float:
    """Env steps a second; appends the processor's seconds a step, here and in the workers."""
    before, begin = model.num_timesteps, (time.perf_counter(), time.process_time(), _worker_seconds(model))
    model.learn(STEPS, reset_num_timesteps=False)
    steps = model.num_timesteps - before
    clock, here, there = np.array([time.perf_counter(), time.process_time(), _worker_seconds(model)]) - begin
    spent.append((here / steps, there / steps))
    return steps / clock


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
    measures = {name: partial(speed, model, spent[name]) for name, model in models.items()}
    measures["bare"] = partial(bare_speed, cell.task.partition(",")[0], spent["bare"])
    speeds = in_turn(ROUNDS, measures)
    memory = _memory(models["two workers"])
    for model in models.values():
        model.env.close()
    ours = VARIANTS.keys() - {"sb3_contrib"}
    return {
        "over sb3_contrib": {name: spread(speeds[name] / speeds["sb3_contrib"]) for name in ours},
        "over a bare loop": {name: spread(speeds[name] / speeds["bare"]) for name in ours},
        "microseconds": {name: (1e6 * np.median(values, axis=0)).round(1).tolist() for name, values in spent.items()},
        "megabytes a worker": memory,
        "megabytes here": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _memory(model: Any) -> float:
    """What a worker has to itself, in MB."""
    own = []
    for process in _workers(model):
        with open(f"/proc/{process.pid}/smaps_rollup") as file:
            own.append(sum(int(line.split()[1]) for line in file if line.startswith("Private_")) / 1024)
    return float(np.median(own))


def table() -> str:
    head = ["`learn()`", "one process", "one worker", "two workers", "two workers over a bare loop"]
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
    head = ["µs an env step", "one process", "serial", "in workers", *(f"{cores} cores" for cores in CORES)]
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=TASKS, tables={"workers": table, "workers_projection": projection})
