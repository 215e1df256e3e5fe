"""Peak memory of a whole process that learns Pong from batches of 100,000 frames, as the paper's are.

    python -m benchmarks.atari_memory

Each figure is the peak resident memory of a fresh process that collects one batch in 8 environments and makes one update:
PyTorch, emulators, frames and all. Fisher matrix on a tenth of the states, ten conjugate-gradient iterations, one pass of
the critic. sb3-contrib's cannot be run at that size: a line through its figures in ``update_memory.json``, which
``python -m benchmarks.update_memory`` writes, is continued to 100,000 frames, and its rollout of stacked frames added.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack

from benchmarks.environment import RESULTS, describe
from benchmarks.update_memory import status
from sb3_trpo import TRPO
from sb3_trpo.atari import FactoredActions, PaperAtariWrapper

N_ENVS, N_STEPS = 8, 12_500
COMMON: dict[str, Any] = {
    "n_steps": N_STEPS,
    "batch_size": 256,
    "n_critic_updates": 1,
    "cg_max_steps": 10,
    "fisher_sample_fraction": 0.1,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "NatureCNN, 84×84×4": ("CnnPolicy", {}),
    "NatureCNN, 84×84×4, stacks kept whole (SB3's buffer)": ("CnnPolicy", {"rollout_buffer_class": RolloutBuffer}),
    "NatureCNN, 84×84×4, vine with 100,000 branch steps": ("CnnPolicy", {"sampling": "vine"}),
    "the paper's network, 52×40×4": ("PaperCnnPolicy", {}),
}


def paper(env: gym.Env) -> gym.Env:
    return FactoredActions(PaperAtariWrapper(env))


def measure(case: str) -> float:
    """MB at the peak of a rollout and an update."""
    gym.register_envs(ale_py)
    th.set_num_threads(1)
    policy, settings = CASES[case]
    wrapper: Any = paper if policy == "PaperCnnPolicy" else AtariWrapper
    env = VecFrameStack(make_vec_env("PongNoFrameskip-v4", N_ENVS, seed=0, wrapper_class=wrapper), 4)
    TRPO(policy, env, seed=0, device="cpu", **COMMON, **settings).learn(N_ENVS * N_STEPS)
    return status("VmHWM")


def sb3_contrib() -> float:
    """MB that sb3-contrib's update and rollout of 100,000 frames would take, from those that were measured."""
    rows = json.loads((RESULTS / "speed" / "update_memory.json").read_text())["rows"]
    frames, megabytes = zip(*((row["frames"], row["megabytes"]) for row in rows if row["algo"] == "sb3_contrib"), strict=True)
    slope, constant = np.polyfit(frames, megabytes, 1)
    n_frames = N_ENVS * N_STEPS
    return constant + n_frames * (slope + 4 * 84 * 84 / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", choices=list(CASES), help="measure in this process and print")
    args = parser.parse_args()
    if args.one:
        print(measure(args.one))
        return
    rows: list[dict[str, Any]] = []
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.atari_memory", "--one", case]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append({"case": case, "megabytes": round(float(output.split()[-1]))})
        print(rows[-1], flush=True)
    lines = ["| Pong, one rollout and update of 100,000 frames | peak of the process |", "|---|---|"]
    lines += [f"| {row['case']} | {row['megabytes'] / 1024:.1f} GB |" for row in rows]
    lines.append(f"| sb3-contrib, NatureCNN, 84×84×4, extrapolated from up to 2,048 frames | {sb3_contrib() / 1024:.0f} GB |")
    (RESULTS / "atari").mkdir(parents=True, exist_ok=True)
    result = {**describe(), "rows": rows, "table": "\n".join(lines)}
    (RESULTS / "atari" / "atari_memory.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
