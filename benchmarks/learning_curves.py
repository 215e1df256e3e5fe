"""One training run with periodic evaluation: our TRPO, sb3-contrib's or SB3's PPO on one task with one seed.

    python -m benchmarks.learning_curves --algo sb3_trpo --env Hopper-v5 --steps 300000 --seed 0

Settings come from sb3_trpo/hyperparams/trpo.yml for ours and from RL Zoo for the others. ``--target-kl`` and ``--cg-damping``
override both as they stand, ``--sampling vine`` takes the vine with its defaults. Under torchrun the task's environments are
shared out among the ranks. Writes a CSV of evaluations (deterministic
episodes on separate environments, undiscounted raw reward) and a JSON of settings, versions and the KL of every update; a
run whose CSV exists is skipped.
"""

import argparse

import torch as th

from benchmarks.environment import RESULTS
from benchmarks.training import ALGORITHMS, Plan, settings_for, write_run


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
    overrides = {"target_kl": args.target_kl, "cg_damping": args.cg_damping, "sampling": args.sampling}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    settings = {**settings_for(args.algo, args.env), **overrides}
    plan = Plan(args.algo, args.env, settings, args.steps, args.seed, args.every, args.episodes, args.episodes)
    write_run(plan, RESULTS / "learning_curves" / args.env / f"{args.label or args.algo}_seed{args.seed}")


if __name__ == "__main__":
    main()
