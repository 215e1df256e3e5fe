"""Env steps a second of a whole ``learn()`` with default settings: ours over sb3-contrib's TRPO's and SB3's PPO's.

    python -m benchmarks.throughput

The three algorithms learn in turn, one PyTorch thread; the ratios are medians with the range of single rounds.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import sb3_contrib
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.environment import RESULTS, describe
from sb3_trpo import TRPO

CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Hopper-v5, 1 environment": ("Hopper-v5", 1, {}),
    "Hopper-v5, 8 environments, n_steps=256": ("Hopper-v5", 8, {"n_steps": 256}),
    "CartPole-v1, 1 environment": ("CartPole-v1", 1, {}),
}
ALGORITHMS = {"sb3_trpo": TRPO, "sb3_contrib": sb3_contrib.TRPO, "ppo": PPO}


def steps_per_second(algorithm: Any, env_id: str, n_envs: int, settings: dict[str, Any], steps: int) -> float:
    """Of a model that has learned from two rollouts before."""
    env = env_id if n_envs == 1 else make_vec_env(env_id, n_envs, seed=0)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(2048)
    begin = time.perf_counter()
    model.learn(steps, reset_num_timesteps=False)
    seconds = time.perf_counter() - begin
    model.env.close()
    return steps / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8192, help="env steps of each run")
    args = parser.parse_args()
    th.set_num_threads(1)
    rows = []
    lines = ["| `learn()` with default settings | times sb3-contrib's steps/s | times PPO's steps/s |", "|---|---|---|"]
    for case, (env_id, n_envs, settings) in CASES.items():
        speeds: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
        for _ in range(args.rounds):
            for name, algorithm in ALGORITHMS.items():
                speeds[name].append(steps_per_second(algorithm, env_id, n_envs, settings, args.steps))
        row: dict[str, Any] = {"case": case, "steps_per_second": {name: float(np.median(s)) for name, s in speeds.items()}}
        for peer in ("sb3_contrib", "ppo"):
            ratios = np.array(speeds["sb3_trpo"]) / np.array(speeds[peer])
            row[peer] = {"ratio": float(np.median(ratios)), "low": ratios.min(), "high": ratios.max()}
        rows.append(row)
        print(row, flush=True)
        cells = [f"**{row[p]['ratio']:.1f}** ({row[p]['low']:.1f}–{row[p]['high']:.1f})" for p in ("sb3_contrib", "ppo")]
        lines.append(f"| {case} | {cells[0]} | {cells[1]} |")
    (RESULTS / "speed").mkdir(parents=True, exist_ok=True)
    result = {**describe(), "rows": rows, "table": "\n".join(lines)}
    (RESULTS / "speed" / "throughput.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
