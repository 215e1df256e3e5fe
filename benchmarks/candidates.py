"""Changes of a task's settings tried over the comparison's 1,000,000 steps, with seeds that the comparison does not use.

    python -m benchmarks.candidates --env HalfCheetah-v5 --label as_they_are
    python -m benchmarks.candidates --env HalfCheetah-v5 --label larger_rollouts --set n_steps=1024 target_kl=0.12

The search (``benchmarks.tuning``) trains for 300,000 steps, where boldness pays that a longer run regrets. A candidate's score
is the mean of its evaluations over the second half of a run. One CSV and one JSON for each run, which is not made again; the
command ends with the scores of all candidates.
"""

import argparse
import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch as th

from benchmarks.comparison import STEPS, TASKS
from benchmarks.environment import RESULTS
from benchmarks.training import Plan, assignment, settings_for, write_run

FOLDER = RESULTS / "tuning" / "candidates"
SEEDS = (101, 102)


def table() -> str:
    """Mean over the second half of every run, by what a candidate has that the task's settings have not, the best first."""
    lines = ["| task | other settings | mean | each seed |", "|---|---|---|---|"]
    for env_id in TASKS:
        settings = settings_for("sb3_trpo", env_id)
        scores: dict[str, list[float]] = {}
        for path in sorted((FOLDER / env_id).glob("*_seed*.csv")):
            means = pd.read_csv(path)["mean"]
            tried = json.loads(path.with_suffix(".json").read_text())["settings"]
            scores.setdefault(_difference(tried, settings), []).append(float(np.mean(means[len(means) // 2 :])))
        for text, found in sorted(scores.items(), key=lambda item: -np.mean(item[1])):
            lines.append(f"| {env_id} | {text} | {np.mean(found):.0f} | {', '.join(f'{score:.0f}' for score in found)} |")
    return "\n".join(lines)


def _difference(tried: dict[str, Any], settings: dict[str, Any]) -> str:
    tried = {name: value for name, value in tried.items() if value != {}}  # policy_kwargs={} is none
    names = [name for name in {**settings, **tried} if tried.get(name) != settings.get(name)]
    return ", ".join(f"`{name}={tried[name]}`" if name in tried else f"no `{name}`" for name in names) or "**none**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=TASKS, required=True)
    parser.add_argument("--label", required=True, help="the candidate's name in the results")
    parser.add_argument("--set", nargs="*", type=assignment, default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    settings = {**settings_for("sb3_trpo", args.env), **dict(args.set)}
    for seed in args.seeds:
        plan = Plan("sb3_trpo", args.env, settings, STEPS, seed, final_episodes=30)
        write_run(plan, FOLDER / args.env / f"{args.label}_seed{seed}")
    print(table())


if __name__ == "__main__":
    main()
