"""The vine's options one by one around their defaults: what Hopper-v5 learns in 100,000 simulator steps.

    python -m benchmarks.vine_defaults

Three seeds each, settings from trpo.yml; the mean of the evaluations of a run (five deterministic episodes every 10,000
steps) and the last one. Single path for comparison. A row is written as soon as it is there and not made again.
"""

import argparse
import csv
import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch as th

from benchmarks.environment import RESULTS, describe
from benchmarks.training import Plan, run, settings_for

ENV, STEPS, SEEDS, EVERY, EPISODES = "Hopper-v5", 100_000, (0, 1, 2), 10_000, 5
FOLDER = RESULTS / "vine"


def variants() -> dict[str, dict[str, Any] | None]:
    """Label and options of each; None for single path."""
    settings = settings_for("sb3_trpo", ENV)
    trunk = settings["n_steps"] * settings["n_envs"]

    def options(share: float = 3.0, branches: int = 4, length: int = 10, **others: Any) -> dict[str, Any]:
        """Branches that take ``share`` times the trunk's steps."""
        n_states = round(share * trunk / (branches * length))
        return {"n_states": n_states, "branches_per_state": branches, "branch_length": length, **others}

    return {
        "4 branches of 10 steps, 3 branch steps for each of the trunk's": options(),
        "branches of 1 step": options(length=1, share=3.0),
        "branches of 5": options(length=5),
        "branches of 20": options(length=20),
        "branches of 50": options(length=50),
        "branches of 50, bootstrap=False": options(length=50, bootstrap=False),
        "2 branches": options(branches=2),
        "8 branches": options(branches=8),
        "1 branch step for each of the trunk's": options(share=1.0),
        "6 branch steps for each of the trunk's": options(share=6.0),
        "common_random_numbers=False": options(common_random_numbers=False),
        "single path": None,
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "vine_defaults.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    done = {(row["variant"], int(row["seed"])) for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, ("variant", "seed", "mean", "last", "steps"))
        if not rows:
            writer.writeheader()
        for seed in SEEDS:
            for label, options in variants().items():
                if (label, seed) in done:
                    continue
                sampling: dict[str, Any] = {} if options is None else {"sampling": "vine", "vine_kwargs": options}
                settings = {**settings_for("sb3_trpo", ENV), **sampling}
                _, observer = run(Plan("sb3_trpo", ENV, settings, STEPS, seed, EVERY, EPISODES, EPISODES))
                returns = [row["mean"] for row in observer.rows]
                mean, steps = round(float(np.mean(returns)), 1), int(observer.rows[-1]["steps"])
                writer.writerow({"variant": label, "seed": seed, "mean": mean, "last": round(returns[-1], 1), "steps": steps})
                file.flush()
    frame = pd.read_csv(path)
    lines = [f"| {ENV}, {STEPS:,} simulator steps | mean return over the run, each seed | last |", "|---|---|---|"]
    for label in variants():
        group = frame[frame["variant"] == label]
        cells = (" · ".join(f"{value:.0f}" for value in group[column]) for column in ("mean", "last"))
        lines.append(f"| {label} | **{group['mean'].mean():.0f}** ({next(cells)}) | {next(cells)} |")
    result = {**describe(), "table": "\n".join(lines)}
    (FOLDER / "vine_defaults.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
