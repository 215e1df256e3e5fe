"""Env steps a second of a whole ``learn()``: with a memory and with masks, ours over sb3-contrib's PPO's.

The two learn in turn, one PyTorch thread. By processor seconds, because a run has one thread and other programs may run.
"""

import time
from functools import partial
from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import in_turn, spread
from benchmarks.variants.study import TASKS
from sb3_trpo import MaskableTRPO, RecurrentTRPO

STORE = Rows("speed/variants")
ROUNDS = 3
Case = tuple[Any, Any, str, int, dict[str, Any], int]
MEMORY: Case = (RecurrentTRPO, RecurrentPPO, "MlpLstmPolicy", 8, {"n_steps": 256}, 2048)
MASKS: Case = (MaskableTRPO, MaskablePPO, "MlpPolicy", 1, {}, 4096)
CASES: dict[str, tuple[str, Case]] = {
    "CartPole without velocities, LSTM of 256 units, 8 environments × 256 steps": ("CartPoleNoVel-v1", MEMORY),
    "Pendulum without velocities, LSTM of 256 units, 8 environments × 256 steps": ("PendulumNoVel-v1", MEMORY),
    "Assignment with masks, defaults": ("Assignment", MASKS),
    "Connect Four with masks, defaults": ("ConnectFour", MASKS),
}


def steps_per_second(algorithm: Any, task: str, policy: str, n_envs: int, settings: dict[str, Any], steps: int) -> float:
    """Of a new model, with its first rollouts."""
    env = make_vec_env(TASKS[task].make, n_envs, seed=0)
    model = algorithm(policy, env, seed=0, device="cpu", **settings)
    begin = time.process_time()
    model.learn(steps)
    seconds = time.process_time() - begin
    env.close()
    return model.num_timesteps / seconds


def measure(cell: Cell) -> dict[str, Any]:
    task, (ours, theirs, policy, n_envs, settings, steps) = CASES[cell.task]
    pair = {"ours": ours, "theirs": theirs}
    measures = {name: partial(steps_per_second, kind, task, policy, n_envs, settings, steps) for name, kind in pair.items()}
    speeds = in_turn(ROUNDS, measures)
    medians = {name: float(np.median(values)) for name, values in speeds.items()}
    return {"steps_per_second": medians, "times": spread(speeds["ours"] / speeds["theirs"])}


def table() -> str:
    rows = ([row["task"], markdown.ratio(row["times"])] for row in STORE.rows())
    return markdown.table(["a whole `learn()`", "times the steps/s of sb3-contrib's PPO"], rows)


STUDY = Study(run=measure, store=STORE, tasks=CASES, tables={"variant_speed": table})
