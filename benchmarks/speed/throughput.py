"""Env steps a second of a whole ``learn()`` with default settings: ours over sb3-contrib's TRPO's and SB3's PPO's.

The three algorithms learn in turn, one PyTorch thread; the ratios are medians with the range of single rounds.
"""

import time
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import in_turn, spread
from benchmarks.common.training import ALGORITHMS

STORE = Rows("speed/throughput")
ROUNDS, STEPS = 7, 8192  # env steps of each run
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Hopper-v5, 1 environment": ("Hopper-v5", 1, {}),
    "Hopper-v5, 8 environments, n_steps=256": ("Hopper-v5", 8, {"n_steps": 256}),
    "CartPole-v1, 1 environment": ("CartPole-v1", 1, {}),
}


def steps_per_second(algorithm: Any, env_id: str, n_envs: int, settings: dict[str, Any]) -> float:
    """Of a model that has learned from two rollouts before."""
    env = env_id if n_envs == 1 else make_vec_env(env_id, n_envs, seed=0)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(2048)
    begin = time.perf_counter()
    model.learn(STEPS, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    model.env.close()
    return STEPS / seconds


def measure(cell: Cell) -> dict[str, Any]:
    speeds = in_turn(
        ROUNDS, {name: partial(steps_per_second, algorithm, *CASES[cell.task]) for name, algorithm in ALGORITHMS.items()}
    )
    ratios = {peer: spread(speeds["sb3_trpo"] / speeds[peer]) for peer in ("sb3_contrib", "ppo")}
    return {"steps_per_second": {name: float(np.median(values)) for name, values in speeds.items()}, **ratios}


def table() -> str:
    rows = ([row["task"], markdown.ratio(row["sb3_contrib"]), markdown.ratio(row["ppo"])] for row in STORE.rows())
    head = ["`learn()` with default settings", "times sb3-contrib's steps/s", "times PPO's steps/s"]
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=CASES, tables={"throughput": table})
