"""This TRPO, sb3-contrib's TRPO and SB3's PPO on five MuJoCo tasks: 1,000,000 env steps, 10 seeds (PPO 5).

    python -m benchmarks.comparison

Settings are those users take: ours from sb3_trpo/hyperparams/trpo.yml, the others' from RL Zoo. Deterministic evaluation,
five episodes every 20,000 steps and thirty at the end. One CSV and one JSON for each run, which is not made again; options
choose some of the runs. ``python -m benchmarks.report`` draws them.
"""

import argparse
import warnings

import torch as th

from benchmarks.environment import RESULTS
from benchmarks.training import ALGORITHMS, Plan, settings_for, write_run

FOLDER = RESULTS / "comparison"
TASKS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Swimmer-v5", "Ant-v5")
STEPS = 1_000_000
SEEDS = {"sb3_trpo": 10, "sb3_contrib": 10, "ppo": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", choices=list(ALGORITHMS), nargs="+", default=list(ALGORITHMS))
    parser.add_argument("--env", choices=TASKS, nargs="+", default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    for seed in args.seeds:  # all tasks with one seed before the next, so that a part of the runs is a fair one
        for env_id in args.env:
            for algo in args.algo:
                if seed < SEEDS[algo]:
                    plan = Plan(algo, env_id, settings_for(algo, env_id), STEPS, seed, final_episodes=30)
                    write_run(plan, FOLDER / env_id / f"{algo}_seed{seed}")


if __name__ == "__main__":
    main()
