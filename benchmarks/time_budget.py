"""Where the time of one ``learn()`` goes, in µs an env step and in per cent.

    python -m benchmarks.time_budget

Stop-watches around the parts' functions, one PyTorch thread; what a part calls of another part is not counted twice.
"""

import argparse
import json
import sys
import time
from typing import Any

import torch as th
from stable_baselines3.common.callbacks import CallbackList, ConvertCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import sb3_trpo.collection
import sb3_trpo.trpo
from benchmarks.environment import RESULTS, describe
from benchmarks.stopwatch import Stopwatch
from sb3_trpo import TRPO
from sb3_trpo.rollouts.evaluators import DeferredEvaluator

copies = sys.modules["sb3_trpo.rollouts.shallow_copies"]  # the package shows the function of that name

# part -> (what is timed, what bounds it)
PARTS: dict[str, tuple[list[tuple[Any, str]], str]] = {
    "environment": ([(Monitor, "step"), (Monitor, "reset")], "the simulator, gymnasium's wrappers, SB3's Monitor"),
    "VecEnv": ([(DummyVecEnv, "step_wait"), (copies, "_step_wait")], "copies of observations and infos"),
    "policy": ([(DeferredEvaluator, "act")], "a handful of NumPy calls"),
    "buffer": (
        [(DeferredEvaluator, "record"), (DeferredEvaluator, "finish"), (sb3_trpo.collection, "estimate_advantages")],
        "array writes; values and log-probabilities in batches",
    ),
    "callbacks": ([(ConvertCallback, "on_step"), (CallbackList, "on_step")], "SB3's callback protocol"),
    "critic": ([(sb3_trpo.trpo, "fit_critic")], "ten passes of matrix products on minibatches of 128"),
    "policy step": ([(TRPO, "train")], "fifteen Fisher-vector products on the whole rollout"),
}
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Hopper-v5": ("Hopper-v5", 1, {}),
    "Hopper-v5 × 8": ("Hopper-v5", 8, {"n_steps": 256}),
    "CartPole-v1": ("CartPole-v1", 1, {}),
}


def budget(env_id: str, n_envs: int, settings: dict[str, Any], steps: int) -> dict[str, float]:
    """µs an env step of every part, and of the rest."""
    model = TRPO("MlpPolicy", make_vec_env(env_id, n_envs, seed=0), seed=0, device="cpu", **settings).learn(2048)
    watch = Stopwatch({part: functions for part, (functions, _) in PARTS.items()})
    with watch.installed():
        begin = time.perf_counter()
        model.learn(steps, reset_num_timesteps=False)
        total = time.perf_counter() - begin
    seconds = {**watch.seconds, "the rest": total - sum(watch.seconds.values())}
    return {part: 1e6 * value / steps for part, value in seconds.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    th.set_num_threads(1)
    budgets = {case: budget(*arguments, steps=16_384) for case, arguments in CASES.items()}
    bounds = {part: bound for part, (_, bound) in PARTS.items()} | {"the rest": "the loop itself, logging"}
    lines = [
        "| µs an env step (share) | " + " | ".join(budgets) + " | bounded by |",
        "|---" * (len(budgets) + 2) + "|",
    ]
    for part, bound in bounds.items():
        cells = (f"{one[part]:.0f} ({one[part] / sum(one.values()):.0%})" for one in budgets.values())
        lines.append(f"| {part} | " + " | ".join(cells) + f" | {bound} |")
    print("\n".join(lines))
    (RESULTS / "speed").mkdir(parents=True, exist_ok=True)
    result = {**describe(), "microseconds": budgets, "table": "\n".join(lines)}
    (RESULTS / "speed" / "time_budget.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
