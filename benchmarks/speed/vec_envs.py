"""Env steps a second in a WorkerVecEnv of two processes over those in SB3's SubprocVecEnv: bare steps, and PPO's ``learn()``.

In turn, one PyTorch thread; medians of ratios with the range of single rounds. Bare steps are the VecEnv's part alone; PPO's
own work is the same with both.
"""

import time
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import in_turn, spread
from sb3_trpo import WorkerVecEnv

STORE = Rows("speed/vec_envs")
ROUNDS, STEPS, BARE_STEPS = 5, 2048, 300  # env steps of PPO's runs; steps of all environments
CASES = {f"{env_id}, {n_envs} environments": (env_id, n_envs) for env_id in ("CartPole-v1", "Hopper-v5") for n_envs in (2, 16)}
VEC_ENVS: dict[str, tuple[Any, dict[str, Any]]] = {
    "workers": (WorkerVecEnv, {"n_workers": 2}),
    "subproc": (SubprocVecEnv, {}),
    "dummy": (DummyVecEnv, {}),
}


def learning(model: PPO) -> float:
    begin, before = time.perf_counter(), model.num_timesteps
    model.learn(STEPS, reset_num_timesteps=False)
    return (model.num_timesteps - before) / (time.perf_counter() - begin)


def stepping(model: PPO) -> float:
    env: Any = model.env
    actions = [np.array([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(BARE_STEPS)]
    env.reset()
    begin = time.perf_counter()
    for each in actions:
        env.step(each)
    return BARE_STEPS * env.num_envs / (time.perf_counter() - begin)


def measure(cell: Cell) -> dict[str, Any]:
    env_id, n_envs = CASES[cell.task]
    models = {}
    for name, (kind, options) in VEC_ENVS.items():
        env = make_vec_env(env_id, n_envs, seed=0, vec_env_cls=kind, vec_env_kwargs=options)
        models[name] = PPO("MlpPolicy", env, n_steps=STEPS // n_envs, seed=0, device="cpu").learn(1)
    found = {}
    for what, measured in (("bare steps", stepping), ("learn", learning)):
        speeds = in_turn(ROUNDS, {name: partial(measured, model) for name, model in models.items()})
        found[what] = {peer: spread(speeds["workers"] / speeds[peer]) for peer in ("subproc", "dummy")}
    for model in models.values():
        model.env.close()  # type: ignore[union-attr]
    return found


def table() -> str:
    head = ["steps/s in a `WorkerVecEnv`, over", "`SubprocVecEnv`, bare steps", "PPO", "`DummyVecEnv`, bare steps", "PPO"]
    rows = []
    for row in STORE.rows():
        ratios = (markdown.ratio(row[what][peer]) for peer in ("subproc", "dummy") for what in ("bare steps", "learn"))
        rows.append([row["task"], *ratios])
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=CASES, tables={"vec_envs": table})
