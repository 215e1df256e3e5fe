"""One training run with periodic evaluation: our TRPO, sb3-contrib's or SB3's PPO on one task with one seed.

    python -m benchmarks.learning_curves --algo sb3_trpo --env Hopper-v5 --steps 300000 --seed 0

Settings come from sb3_trpo/hyperparams/trpo.yml; sb3-contrib's TRPO gets the same with ``target_kl`` and ``cg_damping``
divided by the number of action dimensions, with which it proposes the same step. ``--target-kl`` and ``--cg-damping``
override both as they stand, ``--sampling vine`` takes the vine with its defaults. PPO runs with RL Zoo's own settings.
Under torchrun the task's environments are shared out among the ranks.
Writes a CSV of evaluations (mean of deterministic episodes on a separate environment, undiscounted raw reward) and a JSON
of settings and versions; a run whose CSV exists is skipped.
"""

import argparse
import csv
import json
import os
import time
from importlib.resources import files
from typing import Any

import gymnasium as gym
import numpy as np
import rl_zoo3
import torch as th
import yaml
from sb3_contrib import TRPO as ContribTRPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, sync_envs_normalization

import sb3_trpo
from benchmarks.environment import RESULTS, describe

RANK, N_RANKS = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
ALGORITHMS = {"sb3_trpo": sb3_trpo.TRPO, "sb3_contrib": ContribTRPO, "ppo": PPO}


def settings_for(algo: str, env_id: str) -> dict[str, Any]:
    """The task's entry of the settings file, in the algorithm's own units."""
    folder = files(rl_zoo3 if algo == "ppo" else sb3_trpo) / "hyperparams"
    entries = yaml.safe_load((folder / ("ppo.yml" if algo == "ppo" else "trpo.yml")).read_text())
    settings = dict(entries.get(env_id) or entries.get(env_id.replace("-v5", "-v4")) or entries["default"])
    space = gym.make(env_id).action_space
    if algo == "sb3_contrib" and isinstance(space, gym.spaces.Box):
        for name, default in (("target_kl", 0.01), ("cg_damping", 0.1)):
            settings[name] = settings.get(name, default) / int(np.prod(space.shape))
    return settings


class Evaluation(BaseCallback):
    """Evaluates at the rollout's end after every ``every`` env steps."""

    def __init__(self, env: VecEnv, every: int, episodes: int):
        super().__init__()
        self.env, self.every, self.episodes = env, every, episodes
        self.rows: list[dict[str, float]] = []
        self.evaluation_time = 0.0
        self.started = time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps // self.every > (self.rows[-1]["steps"] // self.every if self.rows else 0):
            self.evaluate()

    def evaluate(self) -> None:
        begin = time.perf_counter()
        if isinstance(self.env, VecNormalize):
            sync_envs_normalization(self.training_env, self.env)
        rewards, _ = evaluate_policy(self.model, self.env, n_eval_episodes=self.episodes, return_episode_rewards=True)
        self.evaluation_time += time.perf_counter() - begin
        wall = time.perf_counter() - self.started - self.evaluation_time
        row: dict[str, float] = {
            "steps": self.num_timesteps,
            "mean": float(np.mean(rewards)),
            "std": float(np.std(rewards)),
            "train_seconds": round(wall, 2),
        }
        self.rows.append(row)
        print(row, flush=True)


def run(
    algo: str, env_id: str, steps: int, seed: int, every: int, episodes: int, **overrides: Any
) -> tuple[BaseAlgorithm, Evaluation]:
    """Train one model and return it with its evaluations, the last one made after the last update."""
    settings = {**settings_for(algo, env_id), **overrides}
    settings.pop("n_timesteps", None)
    n_envs, normalize = settings.pop("n_envs", 1), settings.pop("normalize", False)
    env, eval_env = make_vec_env(env_id, n_envs // N_RANKS, seed), make_vec_env(env_id, 1, seed + 10_000)
    if normalize:
        env = VecNormalize(env, gamma=settings.get("gamma", 0.99))
        eval_env = VecNormalize(eval_env, training=False, norm_reward=False)
    if isinstance(settings.get("policy_kwargs"), str):
        settings["policy_kwargs"] = eval(settings["policy_kwargs"], {"nn": th.nn, "dict": dict})  # RL Zoo writes code there
    model = ALGORITHMS[algo](env=env, seed=seed, device="cpu", **settings)
    evaluation = Evaluation(eval_env, every, episodes)
    model.learn(steps, callback=evaluation if RANK == 0 else None)
    if RANK == 0:
        evaluation.evaluate()
    return model, evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", choices=list(ALGORITHMS), required=True)
    parser.add_argument("--env", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--every", type=int, default=20_000, help="env steps between evaluations")
    parser.add_argument("--episodes", type=int, default=5, help="episodes of each evaluation")
    parser.add_argument("--target-kl", type=float)
    parser.add_argument("--cg-damping", type=float)
    parser.add_argument("--sampling", choices=("single_path", "vine"), help="for sb3_trpo")
    parser.add_argument("--label", help="name of the run in the results (default: the algorithm's)")
    args = parser.parse_args()
    th.set_num_threads(1)

    folder = RESULTS / "learning_curves" / args.env
    stem = folder / f"{args.label or args.algo}_seed{args.seed}"
    if stem.with_suffix(".csv").exists():
        print(f"{stem}.csv exists: nothing to do")
        return
    folder.mkdir(parents=True, exist_ok=True)
    overrides = {"target_kl": args.target_kl, "cg_damping": args.cg_damping, "sampling": args.sampling}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    _, evaluation = run(args.algo, args.env, args.steps, args.seed, args.every, args.episodes, **overrides)
    if RANK > 0:
        return
    record = {**describe(), "ranks": N_RANKS, "settings": {**settings_for(args.algo, args.env), **overrides}}
    stem.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    with stem.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(evaluation.rows[0]))
        writer.writeheader()
        writer.writerows(evaluation.rows)


if __name__ == "__main__":
    main()
