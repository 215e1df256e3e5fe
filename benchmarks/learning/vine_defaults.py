"""The vine's options one by one around their defaults: what Hopper-v5 learns in 100,000 simulator steps.

Three seeds each, settings from trpo.yml; the mean of the evaluations of a run (five deterministic episodes every 10,000
steps) and the last one. Single path for comparison.
"""

from typing import Any

import numpy as np

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.training import Plan, settings_for, train

STORE = Rows("vine/vine_defaults")
ENV, STEPS, EVERY = "Hopper-v5", 100_000, 10_000


def options(share: float = 3.0, branches: int = 4, length: int = 10, **others: Any) -> dict[str, Any]:
    """Of a vine whose branches take ``share`` times the trunk's steps."""
    settings = settings_for("sb3_trpo", ENV)
    n_states = round(share * settings["n_steps"] * settings["n_envs"] / (branches * length))
    options = {"n_states": n_states, "branches_per_state": branches, "branch_length": length, **others}
    return {"sampling": "vine", "vine_kwargs": options}


VARIANTS: dict[str, dict[str, Any]] = {
    "4 branches of 10 steps, 3 branch steps for each of the trunk's": options(),
    "branches of 1 step": options(length=1),
    "branches of 5": options(length=5),
    "branches of 20": options(length=20),
    "branches of 50": options(length=50),
    "branches of 50, bootstrap=False": options(length=50, bootstrap=False),
    "2 branches": options(branches=2),
    "8 branches": options(branches=8),
    "1 branch step for each of the trunk's": options(share=1.0),
    "6 branch steps for each of the trunk's": options(share=6.0),
    "common_random_numbers=False": options(common_random_numbers=False),
    "single path": {},
}


def measure(cell: Cell) -> dict[str, float]:
    """Mean return over the evaluations of a run, the last one, and its steps."""
    settings = {**settings_for("sb3_trpo", cell.task), **VARIANTS[cell.variant]}
    _, observer = train(Plan("sb3_trpo", cell.task, settings, STEPS, cell.seed, EVERY))
    returns = [row["mean"] for row in observer.rows]
    steps = int(observer.rows[-1]["steps"])
    return {"mean": round(float(np.mean(returns)), 1), "last": round(returns[-1], 1), "steps": steps}


def table() -> str:
    """Mean over the run, of all seeds and of each, and the last evaluation."""
    rows = []
    for label in VARIANTS:
        found = [row for row in STORE.rows() if row["variant"] == label]
        means, lasts = (" · ".join(f"{row[name]:.0f}" for row in found) for name in ("mean", "last"))
        rows.append([label, f"**{np.mean([row['mean'] for row in found]):.0f}** ({means})", lasts])
    head = [f"{ENV}, {STEPS:,} simulator steps", "mean return over the run, each seed", "last"]
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=(ENV,), variants=VARIANTS, seeds=(0, 1, 2), tables={"vine_defaults": table})
