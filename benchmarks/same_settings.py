"""sb3-contrib's TRPO with this TRPO's settings: how much of the comparison's difference is theirs.

    python -m benchmarks.same_settings

Tasks, steps and evaluation are the comparison's, and so are the runs that the table puts beside these. One CSV and one JSON
for each run, which is not made again; options choose some of the runs.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import torch as th

from benchmarks import comparison
from benchmarks.comparison_results import Run, action_dimensions, area, difference, runs
from benchmarks.environment import RESULTS
from benchmarks.statistics import interquartile_mean
from benchmarks.training import Plan, settings_for, write_run

FOLDER = RESULTS / "same_settings"
SEEDS = (0, 1, 2)
SCORES: dict[str, Callable[[Run], float]] = {
    "final return": lambda run: run.final,
    "mean over steps": lambda run: area(run, "steps", comparison.STEPS),
}


def converted(env_id: str) -> dict[str, Any]:
    """Ours in sb3-contrib's terms, for the same step: its KL is the mean over action dimensions."""
    settings, d = settings_for("sb3_trpo", env_id), action_dimensions(env_id)
    scaled = {name: settings[name] / d for name in ("target_kl", "cg_damping")}
    return {**settings, **scaled, "sub_sampling_factor": 1}


def table() -> str:
    """Interquartile means of final return and of return over steps, the last column with one set of settings for both."""
    methods = "sb3-contrib, RL Zoo's settings | sb3-contrib, our settings | sb3_trpo | sb3_trpo less sb3-contrib, our settings"
    lines = [f"| task | seeds | score | {methods} |", "|---" * 7 + "|"]
    for env_id in comparison.TASKS:
        found = [runs(env_id, "sb3_contrib"), runs(env_id, "sb3_contrib", FOLDER), runs(env_id, "sb3_trpo")]
        if not found[1]:
            continue
        for name, score in SCORES.items():
            scores = [[score(run) for run in group] for group in found]
            means = [f"{interquartile_mean(group):.0f}" for group in scores]
            seeds = ", ".join(str(len(group)) for group in found)
            lines.append(f"| {env_id} | {seeds} | {name} | {' | '.join(means)} | {difference(scores[2], scores[1])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=comparison.TASKS, nargs="+", default=comparison.TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    for seed in args.seeds:
        for env_id in args.env:
            plan = Plan("sb3_contrib", env_id, converted(env_id), comparison.STEPS, seed, final_episodes=30)
            write_run(plan, FOLDER / env_id / f"sb3_contrib_seed{seed}")


if __name__ == "__main__":
    main()
