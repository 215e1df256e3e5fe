"""A picture of the vine: a Hopper's path, and the branches from some of its states.

    python -m benchmarks.vine_figure

A policy of 150,000 single-path steps walks; every 40th state is saved, four actions drawn from the policy are tried there,
and each branch runs 60 steps. The picture shows the torso's height against its place, the branches of a state once under
the same noise and once under noise of their own.
"""

import argparse
import warnings
from typing import Any

import gymnasium as gym
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from benchmarks.environment import RESULTS
from sb3_trpo import TRPO
from sb3_trpo.policy import actions_from_noise, draw_noise
from sb3_trpo.simulators import clone_state, copy_env, restore_state

TRAINING, TRUNK, EVERY, BRANCHES, LENGTH = 150_000, 240, 40, 4, 60


def torso(env: gym.Env) -> tuple[float, float]:
    """Place and height, in metres."""
    x, z = env.unwrapped.data.qpos[:2]  # type: ignore[attr-defined]
    return float(x), float(z)


@th.no_grad()
def walk(model: TRPO, env: gym.Env, obs: Any, noise: np.ndarray) -> tuple[list[tuple[float, float]], Any]:
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


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    env = VecNormalize(make_vec_env("Hopper-v5", 1, seed=0))
    model = TRPO("MlpPolicy", env, target_kl=0.03, cg_damping=0.3, n_critic_updates=20, seed=0, device="cpu")
    model.learn(TRAINING)
    model.policy.set_training_mode(False)
    figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, sharey=True)
    for axis, common in zip(axes, (True, False), strict=True):
        draw(axis, model, common)
    axes[1].set_xlabel("place (m)")
    figure.tight_layout()
    (RESULTS / "vine").mkdir(parents=True, exist_ok=True)
    figure.savefig(RESULTS / "vine" / "vine.png", dpi=110, metadata={"Software": ""})


def draw(axis: Any, model: TRPO, common: bool) -> None:
    """The trunk, which is the same in both pictures, and branches with noise in common or of their own."""
    rng, branch_rng = np.random.default_rng(1), np.random.default_rng(2)
    trunk = gym.make("Hopper-v5")
    obs, _ = trunk.reset(seed=2)
    branch = copy_env(trunk)
    for number in range(TRUNK // EVERY):
        state, start, shared = clone_state(trunk), torso(trunk), draw_noise(model.policy, branch_rng, (LENGTH,))
        for _ in range(BRANCHES):
            restore_state(branch, state)
            noise = shared.copy() if common else draw_noise(model.policy, branch_rng, (LENGTH,))
            noise[0] = draw_noise(model.policy, branch_rng, (1,))[0]  # first actions are always drawn independently
            path, _ = walk(model, branch, obs, noise)
            axis.plot(*zip(*path, strict=True), color=f"C{number + 1}", alpha=0.6, linewidth=1.2)
        path, obs = walk(model, trunk, obs, draw_noise(model.policy, rng, (EVERY,)))
        axis.plot(*start, "o", color=f"C{number + 1}", markersize=6, zorder=3)
        axis.plot(*zip(*path, strict=True), color="black", linewidth=2.0, zorder=2, label=None if number else "trunk")
    kind = "the same noise" if common else "noise of their own"
    axis.set(ylabel="torso height (m)", title=f"Four first actions in each saved state, then {kind}")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="upper right")


if __name__ == "__main__":
    main()
