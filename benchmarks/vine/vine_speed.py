"""Simulator steps a second of a whole ``learn()`` with the vine, beside a bare loop of one environment's ``step``.

Two processes for the branches; the bare loop takes random actions, resets included, in this process alone. Both in turn,
medians of the ratios with the range of single rounds. Then where the time of an iteration goes, with the branches in this
process, as shares.
"""

import time
from functools import partial
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import Stopwatch, hold_processes, in_turn, spread
from sb3_trpo import TRPO, WorkerVecEnv
from sb3_trpo.atari import PaperAtariWrapper
from sb3_trpo.sampling.vine import collector
from sb3_trpo.sampling.vine.branches import _Runner
from sb3_trpo.sampling.vine.envs import BranchEnvs

STORE = Rows("vine/vine_speed")
ROUNDS = 3
PONG = {"Pong": AtariWrapper, "Pong for the paper's network": PaperAtariWrapper}
ATARI = {"n_steps": 512, "fisher_sample_fraction": 0.1}
LONG = {"n_states": 256, "branches_per_state": 4, "branch_length": 100}
LONG_OF_TWO = {"n_states": 1024, "branch_length": 100}
ALL_OF_SIX = {"n_states": 128, "branch_length": 20}
IN_WORKERS = " in two workers"
# environment, policy, settings, the vine's settings
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "Hopper-v5, default settings": ("Hopper-v5", "MlpPolicy", {}, {}),
    "Hopper-v5, 256 states × 4 × 100 steps": ("Hopper-v5", "MlpPolicy", {}, LONG),
    "Humanoid-v5, default settings": ("Humanoid-v5", "MlpPolicy", {}, {}),
    "Humanoid-v5, 256 states × 4 × 100 steps": ("Humanoid-v5", "MlpPolicy", {}, LONG),
    **{
        f"{env_id}, default settings, trunk of two environments in two workers, too": (
            f"{env_id}{IN_WORKERS}",
            "MlpPolicy",
            {"n_steps": 1024},
            {},
        )
        for env_id in ("Hopper-v5", "Humanoid-v5")
    },
    "CartPole-v1, default settings": ("CartPole-v1", "MlpPolicy", {}, {}),
    "CartPole-v1, 1,024 states × 2 × 100 steps": ("CartPole-v1", "MlpPolicy", {}, LONG_OF_TWO),
    "Pong, AtariWrapper, NatureCNN, 128 states × 6 × 20 steps, Fisher on a tenth": ("Pong", "CnnPolicy", ATARI, ALL_OF_SIX),
    "Pong, PaperAtariWrapper, the paper's network, 128 states × 6 × 20 steps, Fisher on a tenth": (
        "Pong for the paper's network",
        "PaperCnnPolicy",
        ATARI,
        ALL_OF_SIX,
    ),
}


def make_env(env_id: str) -> VecEnv:
    if env_id in PONG:
        settings = {"frameskip": 1, "repeat_action_probability": 0.0}
        return VecFrameStack(make_vec_env("ALE/Pong-v5", 1, seed=0, wrapper_class=PONG[env_id], env_kwargs=settings), 4)
    if env_id.endswith(IN_WORKERS):
        workers: Any = {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"n_workers": 2}}
        return VecNormalize(make_vec_env(env_id.removesuffix(IN_WORKERS), 2, seed=0, **workers))
    env = make_vec_env(env_id, 1, seed=0)
    return env if env_id == "CartPole-v1" else VecNormalize(env)


def bare_speed(env_id: str, seconds: float = 2.0) -> float:
    """Steps a second of ``env.step`` with random actions drawn beforehand, in what ``gym.make`` gives."""
    env = make_env(env_id).get_attr("env")[0] if env_id in PONG else gym.make(env_id.removesuffix(IN_WORKERS))
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(1000)]
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for action in actions[:200]:
            outputs = env.step(action)
            if outputs[2] or outputs[3]:
                env.reset()
        steps += 200
    elapsed = time.perf_counter() - begin
    env.close()
    return steps / elapsed


def vine_speed(model: TRPO, iterations: int) -> float:
    """Steps a second of so many whole iterations, updates included."""
    before, begin = model.num_timesteps, time.perf_counter()
    for _ in range(iterations):
        model.learn(1, reset_num_timesteps=False)
    return (model.num_timesteps - before) / (time.perf_counter() - begin)


def make(case: str, n_workers: int) -> TRPO:
    env_id, policy, settings, vine = CASES[case]
    branches = {**vine, "n_workers": n_workers}
    return TRPO(policy, make_env(env_id), seed=0, device="cpu", sampling="vine", vine_kwargs=branches, **settings)


def shares(case: str, iterations: int) -> dict[str, float]:
    """Where the time of an iteration goes, branches in this process."""
    model = make(case, 0)
    model.learn(1)
    watch = Stopwatch(
        {
            "saving": [(collector, "clone_rows")],
            "restoring": [(BranchEnvs, "load")],
            "simulator in branches": [(BranchEnvs, "step")],
            "policy in branches": [(_Runner, "_actions")],
            "the rest of the branches": [(collector, "run_branches")],
            "update": [(model, "train")],
        }
    )
    begin = time.perf_counter()
    with watch.installed():
        vine_speed(model, iterations)
    total = time.perf_counter() - begin
    found = {part: seconds / total for part, seconds in watch.seconds.items()}
    return {**found, "trunk": 1.0 - sum(found.values())}


def measure(cell: Cell) -> dict[str, Any]:
    gym.register_envs(ale_py)
    env_id, *_, vine = CASES[cell.task]
    iterations = 4 if env_id == "CartPole-v1" or not vine else 1
    model = make(cell.task, 2)
    model.learn(1)
    hold_processes(model._sampler._workers.workers.processes)  # type: ignore[union-attr]
    if isinstance(model.env.unwrapped, WorkerVecEnv):  # type: ignore[union-attr]
        hold_processes(model.env.unwrapped._workers.processes)  # type: ignore[union-attr]
    speeds = in_turn(ROUNDS, {"bare": partial(bare_speed, env_id), "ours": partial(vine_speed, model, iterations)})
    model.close_vine()
    return {
        **spread(speeds["ours"] / speeds["bare"]),
        "steps_per_second": float(np.median(speeds["ours"])),
        "bare_steps_per_second": float(np.median(speeds["bare"])),
        "shares": shares(cell.task, iterations),
    }


def table() -> str:
    found = STORE.rows()
    parts = list(found[0]["shares"])
    rows = ([row["task"], markdown.ratio(row, 2), *(f"{row['shares'][part]:.0%}" for part in parts)] for row in found)
    return markdown.table(["`learn()` with a vine", "of a bare loop's steps/s", *parts], rows)


STUDY = Study(run=measure, store=STORE, tasks=CASES, tables={"vine_speed": table})
