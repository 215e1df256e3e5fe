"""Changes of a task's settings tried over the comparison's 1,000,000 steps, with seeds that the comparison does not use.

    python -m benchmarks.candidates --env HalfCheetah-v5 --label as_they_are
    python -m benchmarks.candidates --env HalfCheetah-v5 --label larger_rollouts --set n_steps=1024 target_kl=0.12

The search (``benchmarks.tuning``) trains for 300,000 steps, where boldness pays that a longer run regrets. A candidate's score
is the mean of its evaluations over the second half of a run. One CSV and one JSON for each run, which is not made again; the
command ends with the scores of all candidates on the task.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
import torch as th

from benchmarks.comparison import STEPS, TASKS
from benchmarks.environment import RESULTS
from benchmarks.training import Plan, assignment, settings_for, write_run

FOLDER = RESULTS / "tuning" / "candidates"
SEEDS = (101, 102)


def scores(env_id: str) -> pd.DataFrame:
    """One row for every candidate, one column for every seed."""
    rows = []
    for path in sorted((FOLDER / env_id).glob("*_seed*.csv")):
        label, _, seed = path.stem.rpartition("_seed")
        means = pd.read_csv(path)["mean"]
        rows.append((label, int(seed), float(np.mean(means[len(means) // 2 :]))))
    return pd.DataFrame(rows, columns=["label", "seed", "score"]).pivot(index="label", columns="seed", values="score")


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
    print(scores(args.env).round().to_string())


if __name__ == "__main__":
    main()
