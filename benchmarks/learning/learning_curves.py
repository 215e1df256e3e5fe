"""Shorter runs: our TRPO with single path, the vine and two ranks, and sb3-contrib's.

Settings come from sb3_trpo/hyperparams/trpo.yml for ours and from RL Zoo for sb3-contrib's. Ranks are torchrun's, which share
out the task's environments:

    torchrun --nproc-per-node 2 -m benchmarks learning_curves --task Hopper-v5 --variant sb3_trpo_two_ranks
"""

from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.figures import band, save
from benchmarks.common.training import N_RANKS, Plan, make_run, settings_for

STORE = Runs("learning_curves")


@dataclass(frozen=True)
class Method:
    """One of the methods.

    :param label: in table and picture
    :param color: in the picture
    :param algo: of ``ALGORITHMS``
    :param settings: that differ from the file's
    :param ranks: processes that it is run with
    """

    label: str
    color: str
    algo: str = "sb3_trpo"
    settings: dict[str, Any] = field(default_factory=dict)
    ranks: int = 1


# Env steps of a run, env steps between evaluations, episodes of each
TASKS = {"CartPole-v1": (40_000, 2_000, 20), "Hopper-v5": (300_000, 20_000, 5), "Pendulum-v1": (100_000, 20_000, 20)}
METHODS = {
    "sb3_contrib": Method("sb3-contrib TRPO, RL Zoo's settings", "tab:orange", algo="sb3_contrib"),
    "sb3_trpo_same_numbers": Method(
        "sb3_trpo, target_kl and cg_damping not converted", "tab:green", settings={"target_kl": 0.01, "cg_damping": 0.1}
    ),
    "sb3_trpo": Method("sb3_trpo", "tab:blue"),
    "sb3_trpo_two_ranks": Method("sb3_trpo, two ranks with one environment each", "tab:purple", ranks=2),
    "sb3_trpo_vine": Method("sb3_trpo, vine with its defaults", "tab:red", settings={"sampling": "vine"}),
}


def run(cell: Cell) -> Run | None:
    (steps, every, episodes), method = TASKS[cell.task], METHODS[cell.variant]
    settings = {**settings_for(method.algo, cell.task), **method.settings}
    return make_run(Plan(method.algo, cell.task, settings, steps, cell.seed, every, episodes, episodes), cell.changes)


def curves(env_id: str) -> dict[str, list[pd.DataFrame]]:
    """Evaluations of every run on a task, by method."""
    return {method: frames for method in METHODS if (frames := STORE.frames(env_id, method))}


def table() -> str:
    """Final and mean return of every task and method, each over its seeds."""
    rows = []
    for env_id in TASKS:
        for method, frames in curves(env_id).items():
            best = ", ".join(f"{frame['mean'].max():.0f}" for frame in frames)
            finals = ", ".join(f"{frame['mean'].iloc[-1]:.0f}" for frame in frames)
            area = np.mean([frame["mean"].mean() for frame in frames])
            steps = f"{int(frames[0]['steps'].iloc[-1]):,}"
            rows.append([env_id, METHODS[method].label, str(len(frames)), steps, best, finals, f"{area:.0f}"])
    return markdown.table(
        ["task", "method", "seeds", "env steps", "best evaluations", "final ones", "mean over the run"], rows
    )


def plot() -> None:
    """Mean and range over seeds, against env steps, of the task on which methods are compared."""
    env_id, found = "Hopper-v5", curves("Hopper-v5")
    figure, axis = plt.subplots(figsize=(8, 4.6))
    for name, frames in found.items():
        # Runs are evaluated at the ends of rollouts, which with a vine come at steps of their own
        steps = np.linspace(0, max(frame["steps"].iloc[-1] for frame in frames), 31)[1:]
        returns = [np.interp(steps, frame["steps"], frame["mean"]) for frame in frames]
        method = METHODS[name]
        bounds = np.array([np.min(returns, axis=0), np.max(returns, axis=0)])
        label = f"{method.label} ({len(frames)} seeds)"
        band(axis, steps / 1000, np.mean(returns, axis=0), bounds, method.color, label)
    axis.set(xlabel="thousand env steps", ylabel="mean return of 5 deterministic episodes", title=env_id)
    axis.grid(alpha=0.3)
    figure.legend(loc="lower center", ncols=1, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.05 * len(found), 1, 1))
    save(figure, STORE.path / f"{env_id}.png")


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=METHODS,
    seeds=(0, 1, 2),
    included=lambda cell: METHODS[cell.variant].ranks == N_RANKS and (cell.task == "Hopper-v5" or cell.variant == "sb3_trpo"),
    changeable=True,
    tables={"learning": table},
    plots=(plot,),
)
