"""Processor time that the methods of ``benchmarks.comparison`` take for an env step, measured in turn.

    python -m benchmarks.comparison_speed

The comparison's runs are made on many days, some slow and some fast; what one of them took says little about another. So all
methods learn for a while in turn, each with its settings, and the comparison counts a step of a method as the median of its
rounds. One PyTorch thread; evaluation is not counted.
"""

import argparse
import json
import warnings

import numpy as np
import torch as th

from benchmarks.comparison import FOLDER, TASKS
from benchmarks.environment import describe
from benchmarks.statistics import median_and_range
from benchmarks.training import ALGORITHMS, Plan, run, settings_for

FILE = FOLDER / "comparison_speed.json"
NAMES = {"sb3_trpo": "sb3_trpo", "sb3_contrib": "sb3-contrib TRPO", "ppo": "SB3 PPO"}


def microseconds(algo: str, env_id: str, steps: int, seed: int) -> float:
    """Of an env step, updates included."""
    plan = Plan(algo, env_id, settings_for(algo, env_id), steps, seed, every=2 * steps, final_episodes=1)
    _, observer = run(plan, report=lambda row: None)
    return 1e6 * observer.rows[-1]["processor_seconds"] / observer.rows[-1]["steps"]


def table(measured: dict[str, dict[str, list[float]]]) -> str:
    """Medians, and how many times the others take what ours takes, with the range of single rounds."""
    lines = ["| µs an env step | " + " | ".join(NAMES.values()) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for env_id, rounds in measured.items():
        cells = [f"{np.median(rounds['sb3_trpo']):.0f}"]
        for other in ("sb3_contrib", "ppo"):
            ratios = np.array(rounds[other]) / np.array(rounds["sb3_trpo"])
            cells.append(f"{np.median(rounds[other]):.0f}, {median_and_range(ratios, '.1f')} times ours")
        lines.append(f"| {env_id} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24_576, help="env steps of a run")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    measured: dict[str, dict[str, list[float]]] = {env_id: {algo: [] for algo in ALGORITHMS} for env_id in TASKS}
    for env_id in TASKS:
        for seed in range(args.rounds):
            for algo in ALGORITHMS:
                measured[env_id][algo].append(round(microseconds(algo, env_id, args.steps, seed), 1))
        print(env_id, measured[env_id], flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = {**describe(), "microseconds": measured, "table": table(measured)}
    FILE.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
