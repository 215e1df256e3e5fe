"""Frames a second on Pong: of a whole ``learn()`` beside sb3-contrib's and PPO's, and of collection beside the emulator's.

A frame is what the policy sees: four of the emulator's. Eight environments, 128 steps of each in a rollout, SB3's
AtariWrapper and NatureCNN, one PyTorch thread. Both TRPOs have the same settings, sb3-contrib's defaults, but for the share
of states in the Fisher matrix, which is ours alone; PPO has SB3's defaults, and RL Zoo's for Atari. RL Zoo's PPO
passes over a rollout four times, and is compared with TRPO whose critic makes four passes. The algorithms learn in turn;
ratios are medians with the range of single rounds. Collection is ``learn()`` without its updates; the environments are in
this process or in processes of their own, and "bare" is a loop of ALE's ``act`` alone.
"""

import os
import time
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import sb3_contrib
from stable_baselines3 import PPO
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from benchmarks.atari.games import paper, pong
from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import spread
from sb3_trpo import TRPO

STORE = Rows("atari/atari_speed")
LEARNING, COLLECTION, BARE = "learning", "collection", "bare emulator, one process"
N_ENVS, N_STEPS = 8, 128
ROLLOUT = N_ENVS * N_STEPS
ZOO_PPO = {"n_epochs": 4, "batch_size": 256, "learning_rate": 2.5e-4, "clip_range": 0.1, "ent_coef": 0.01}
OURS, OURS_IN_FOUR = "sb3_trpo", "sb3_trpo, four passes of the critic"
ALGORITHMS: dict[str, tuple[Any, dict[str, Any]]] = {
    OURS: (TRPO, {"fisher_sample_fraction": 0.1}),
    "sb3_contrib": (sb3_contrib.TRPO, {}),
    "PPO, SB3's defaults": (PPO, {}),
    OURS_IN_FOUR: (TRPO, {"fisher_sample_fraction": 0.1, "n_critic_updates": 4, "batch_size": 256}),
    "PPO, RL Zoo's settings": (PPO, ZOO_PPO),
}
COMPARED = {"sb3_contrib": OURS, "PPO, SB3's defaults": OURS, "PPO, RL Zoo's settings": OURS_IN_FOUR}
POLICIES: dict[str, tuple[str, Any]] = {
    "NatureCNN": ("CnnPolicy", AtariWrapper),
    "the paper's network": ("PaperCnnPolicy", paper),
}


COLLECTED = {f"{network}, {kind.__name__}": (network, kind) for network in POLICIES for kind in (DummyVecEnv, SubprocVecEnv)}


def frames_per_second(model: OnPolicyAlgorithm, n_rollouts: int) -> float:
    """Of a model that has learned from one rollout before."""
    model.learn(ROLLOUT)
    begin = time.perf_counter()
    model.learn(n_rollouts * ROLLOUT, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    assert model.env is not None
    model.env.close()
    return n_rollouts * ROLLOUT / seconds


def learning(name: str) -> float:
    """Frames a second of an algorithm."""
    algorithm, settings = ALGORITHMS[name]
    model = algorithm("CnnPolicy", pong(N_ENVS, AtariWrapper), n_steps=N_STEPS, seed=0, device="cpu", **settings)
    return frames_per_second(model, 1 if name == "sb3_contrib" else 2)


def bare_emulator(n_frames: int) -> float:
    """Frames a second of ALE's ``act``, four for each."""
    ale: ale_py.ALEInterface = gym.make("PongNoFrameskip-v4").unwrapped.ale  # type: ignore[attr-defined]
    ale.reset_game()
    begin = time.perf_counter()
    for step in range(4 * n_frames):
        ale.act(step // 4 % 6)
        if ale.game_over():
            ale.reset_game()
    return n_frames / (time.perf_counter() - begin)


def collection(network: str, kind: type[VecEnv]) -> float:
    """Frames a second of rollouts without updates."""
    policy, wrapper = POLICIES[network]
    model = TRPO(policy, pong(N_ENVS, wrapper, kind), n_steps=N_STEPS, seed=0, device="cpu")
    model.train = lambda: None  # type: ignore[method-assign]
    return frames_per_second(model, 4)


def measure(cell: Cell) -> dict[str, float]:
    gym.register_envs(ale_py)
    if cell.task == LEARNING:
        speed = learning(cell.variant)
    else:
        speed = bare_emulator(4_000) if cell.variant == BARE else collection(*COLLECTED[cell.variant])
    return {"frames_per_second": speed, "cores": len(os.sched_getaffinity(0))}


def table() -> str:
    """Two tables, of learning and of collection alone."""
    speeds: dict[str, list[float]] = {}
    for row in STORE.rows():
        speeds.setdefault(row["variant"], []).append(row["frames_per_second"])
    learned = []
    for name in ALGORITHMS:
        ratio = ""
        if name in COMPARED:
            times = spread(np.array(speeds[COMPARED[name]]) / np.array(speeds[name]))
            ratio = markdown.ratio(times) + COMPARED[name].removeprefix(OURS)
        learned.append([name, f"{np.median(speeds[name]):.0f}", ratio])
    collected = []
    for name in (BARE, *COLLECTED):
        share = np.median(speeds[name]) / np.median(speeds[BARE])
        collected.append([name, f"{np.median(speeds[name]):.0f}", f"{share:.2f}"])
    cores = STORE.rows()[0]["cores"]
    return "\n\n".join(
        [
            markdown.table(["Pong, whole `learn()`", "frames/s", "sb3_trpo is … times as fast"], learned),
            markdown.table([f"Pong, collection alone, {cores} core(s)", "frames/s", "of the bare emulator's"], collected),
        ]
    )


STUDY = Study(
    run=measure,
    store=STORE,
    tasks=(LEARNING, COLLECTION),
    variants=(*ALGORITHMS, BARE, *COLLECTED),
    seeds=tuple(range(4)),
    included=lambda cell: (cell.variant in ALGORITHMS) == (cell.task == LEARNING),
    alternated=True,
    tables={"atari_speed": table},
)
