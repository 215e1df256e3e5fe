"""A picture of the vine: a Hopper's path, and the branches from some of its states.

A policy of 150,000 single-path steps walks; every 40th state is saved, four actions drawn from the policy are tried there,
and each branch runs 60 steps. The picture shows the torso's height against its place, the branches of a state once under
the same noise and once under noise of their own.
"""

from functools import cache
from typing import Any

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from benchmarks.common import Cell, Rows, Study
from benchmarks.common.environment import results
from benchmarks.common.figures import save
from sb3_trpo import TRPO
from sb3_trpo.policy import actions_from_noise, draw_noise
from sb3_trpo.simulators import clone_state, copy_env, restore_state

STORE = Rows("vine/vine")
TRAINING, TRUNK, EVERY, BRANCHES, LENGTH = 150_000, 240, 40, 4, 60
COMMON, OWN = "the same noise", "noise of their own"

Path = list[tuple[float, float]]


def torso(env: gym.Env) -> tuple[float, float]:
    """Place and height, in metres, to a tenth of a millimetre."""
    x, z = env.unwrapped.data.qpos[:2]  # type: ignore[attr-defined]
    return round(float(x), 4), round(float(z), 4)


@th.no_grad()
def walk(model: TRPO, env: gym.Env, obs: Any, noise: np.ndarray) -> tuple[Path, Any]:
    """Torso positions under the policy with noise drawn beforehand, to the end of the episode at most; and where it leads."""
    positions, normalization = [torso(env)], model.get_vec_normalize_env()
    assert normalization is not None
    for drawn in noise:
        observations = th.as_tensor(normalization.normalize_obs(obs)[None])  # type: ignore[index, call-overload]
        action = actions_from_noise(model.policy, observations, drawn[None])[0].numpy()
        obs, _, terminated, _, _ = env.step(np.clip(action, -1.0, 1.0))
        positions.append(torso(env))
        if terminated:
            break
    return positions, obs


@cache
def trained() -> TRPO:
    """The policy that walks, the same in both panels."""
    env = VecNormalize(make_vec_env("Hopper-v5", 1, seed=0))
    model = TRPO("MlpPolicy", env, target_kl=0.03, cg_damping=0.3, n_critic_updates=20, seed=0, device="cpu")
    model.learn(TRAINING)
    model.policy.set_training_mode(False)
    return model


def measure(cell: Cell) -> dict[str, Any]:
    """The trunk, which is the same in both panels, in pieces of ``EVERY`` steps, and the branches from each piece's start."""
    model, rng, branch_rng = trained(), np.random.default_rng(1), np.random.default_rng(2)
    trunk = gym.make("Hopper-v5")
    obs, _ = trunk.reset(seed=2)
    branch = copy_env(trunk)
    pieces, branches = [], []
    for _ in range(TRUNK // EVERY):
        state, shared = clone_state(trunk), draw_noise(model.policy, branch_rng, (LENGTH,))
        begun = []
        for _ in range(BRANCHES):
            restore_state(branch, state)
            noise = shared.copy() if cell.variant == COMMON else draw_noise(model.policy, branch_rng, (LENGTH,))
            noise[0] = draw_noise(model.policy, branch_rng, (1,))[0]  # first actions are always drawn independently
            begun.append(walk(model, branch, obs, noise)[0])
        path, obs = walk(model, trunk, obs, draw_noise(model.policy, rng, (EVERY,)))
        pieces.append(path)
        branches.append(begun)
    return {"trunk": pieces, "branches": branches}


def plot() -> None:
    """The branches of a state once under the same noise and once under noise of their own."""
    figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, sharey=True)
    for axis, row in zip(axes, STORE.rows(), strict=True):
        for number, (piece, branches) in enumerate(zip(row["trunk"], row["branches"], strict=True)):
            for path in branches:
                axis.plot(*zip(*path, strict=True), color=f"C{number + 1}", alpha=0.6, linewidth=1.2)
            axis.plot(*piece[0], "o", color=f"C{number + 1}", markersize=6, zorder=3)
            axis.plot(*zip(*piece, strict=True), color="black", linewidth=2.0, zorder=2, label=None if number else "trunk")
        axis.set(ylabel="torso height (m)", title=f"Four first actions in each saved state, then {row['variant']}")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, loc="upper right")
    axes[1].set_xlabel("place (m)")
    figure.tight_layout()
    save(figure, results("vine", "vine.png"))


STUDY = Study(run=measure, store=STORE, tasks=("Hopper-v5",), variants=(COMMON, OWN), alternated=True, plots=(plot,))
