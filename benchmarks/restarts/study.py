"""Do episodes that begin in saved states find and learn what single path does not?

    pip install minigrid gymnasium-robotics && python -m benchmarks restarts

Equal simulator steps, exploration and recording included. Success is from the true start alone, of 20 episodes with actions
drawn from the policy, and of 10 at every fifth of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from gymnasium.spaces import flatdim
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.figures import save_panels
from benchmarks.common.statistics import interquartile_mean, mean_and_interval
from benchmarks.common.stores import notes_of
from benchmarks.restarts.tasks import TASKS, Task
from benchmarks.restarts.uncertain import FitEnsemble, Uncertain
from sb3_trpo import TRPO
from sb3_trpo.restarts import Backward, RareFirst, RestartEnv, RestartSchedule, Source, Visited, explore

STORE = Runs("restarts")
EVALUATIONS, EPISODES, FINAL_EPISODES = 5, 10, 20
N_ENVS, N_STEPS = 8, 256
ALGORITHMS: dict[str, tuple[Any, dict[str, Any]]] = {"TRPO": (TRPO, {"target_kl": 0.02}), "PPO": (PPO, {"batch_size": 256})}


@dataclass(frozen=True)
class Variant:
    """Where episodes begin.

    :param algorithm: of ``ALGORITHMS``
    :param source: of the task; None for none, or one made of what an exploration finds
    :param explores: whether the run begins with an exploration and goes back along what it finds
    :param lag: env steps beyond the trajectory's length after which an episode is cut; None for never
    """

    algorithm: str
    source: Callable[[Task], Source] = lambda task: Source()
    explores: bool = False
    lag: int | None = 50


VARIANTS = {
    "TRPO": Variant("TRPO"),
    "TRPO, explore and backward": Variant("TRPO", explores=True),
    "TRPO, explore and backward, never cut": Variant("TRPO", explores=True, lag=None),
    "PPO": Variant("PPO"),
    "PPO, explore and backward": Variant("PPO", explores=True),
    "TRPO, uniform": Variant("TRPO", lambda task: Visited()),
    "TRPO, rare first": Variant("TRPO", lambda task: RareFirst(task.cell)),
    "TRPO, uncertain": Variant("TRPO", lambda task: Uncertain(flatdim(task.make().observation_space))),
}
COLORS = {  # of what is drawn: the table has all
    "TRPO": "tab:blue",
    "TRPO, explore and backward": "tab:red",
    "PPO": "lightsteelblue",
    "PPO, explore and backward": "tab:pink",
    "TRPO, uniform": "tab:cyan",
    "TRPO, rare first": "tab:green",
    "TRPO, uncertain": "tab:olive",
}
PICTURED = ("KeyCorridorS3R3", "MountainCarContinuous", "MultiRoom-N6", "PointMaze, large")


def backward_share(remaining: float) -> float:
    """Nine tenths, and the last fifth of a run from the true start alone."""
    return 0.9 if remaining > 0.2 else 0.0


class Observer(BaseCallback):
    """Notes the success from the true start, and where the other episodes begin.

    :param env: for evaluation, without restarts
    :param spent: simulator steps before training
    :param every: steps between evaluations
    """

    def __init__(self, env: VecEnv, spent: int, every: int):
        super().__init__()
        self.env, self.spent, self.every = env, spent, every
        self.rows: list[dict[str, float]] = []
        self.begun: list[tuple[int, int]] = []

    def _on_step(self) -> bool:
        for done, info in zip(self.locals["dones"], self.training_env.reset_infos, strict=True):
            if done and "restart" in info:
                self.begun.append((self.spent + self.num_timesteps, info["restart"]["steps"]))
        return True

    def _on_rollout_end(self) -> None:
        if (self.spent + self.num_timesteps) // self.every > (self.rows[-1]["steps"] // self.every if self.rows else 0):
            self._evaluate(EPISODES)

    def _on_training_end(self) -> None:
        self._evaluate(FINAL_EPISODES)

    def _evaluate(self, episodes: int) -> None:
        returns, _ = evaluate_policy(self.model, self.env, episodes, deterministic=False, return_episode_rewards=True)
        success = float(np.mean(np.array(returns) > 0.0))
        steps = self.spent + self.num_timesteps
        self.rows.append({"steps": steps, "success": success, "mean": round(float(np.mean(returns)), 4)})


def run(cell: Cell) -> Run:
    task, variant = TASKS[cell.task], VARIANTS[cell.variant]
    notes: dict[str, Any] = {"seed": cell.seed}
    source, spent, share = variant.source(task), 0, RestartSchedule(0.5)
    if variant.explores:
        limit = task.steps // 2
        single = Monitor(task.make())  # the layers that training has
        found = explore(single, limit, task.cell, task.segment, task.repeat, until=1e-9, seed=cell.seed)
        notes |= {"explored": found.steps, "found": found.total, "length": found.length, "cells": len(found.cells.starts)}
        spent, share = found.steps, RestartSchedule(backward_share)
        if found.total > 0.0:
            source, spent = Backward(found.trajectory(single), lag=variant.lag), spent + found.length
    env = DummyVecEnv([lambda: RestartEnv(Monitor(task.make()), source, share=0.0)] * N_ENVS)
    evaluation = DummyVecEnv([lambda: Monitor(task.make())] * 5)
    evaluation.seed(cell.seed + 10_000)
    algorithm, settings = ALGORITHMS[variant.algorithm]
    settings = {"n_steps": N_STEPS, **settings, **dict(task.settings), **cell.changes}
    model = algorithm("MlpPolicy", env, seed=cell.seed, device="cpu", **settings)
    observer = Observer(evaluation, spent, task.steps // EVALUATIONS)
    fitting = [FitEnsemble(source)] if isinstance(source, Uncertain) else []
    model.learn(task.steps - spent, callback=[share, observer, *fitting])
    begun = [[int(part) for part in restart] for restart in observer.begun[:: max(1, len(observer.begun) // 300)]]
    return Run(observer.rows, {**notes, "settings": {**settings}, "restarts": len(observer.begun), "begun": begun})


def final(task: str, variant: str) -> list[float]:
    return [float(frame["success"].iloc[-1]) for frame in STORE.frames(task, variant)]


def table() -> str:
    """Success at the end of each run: interquartile mean over seeds with its 95 % bootstrap interval, then each seed."""
    rows = []
    for variant in VARIANTS:
        found = [final(task, variant) for task in TASKS]
        rows.append([variant, *(_cell(one) for one in found)])
    heads = [f"{name}, {task.steps:,} steps" for name, task in TASKS.items()]
    return markdown.table(["", *heads], rows)


def _cell(successes: list[float]) -> str:
    if not successes:
        return "not run"
    return f"{mean_and_interval(successes, '.0%')}: {', '.join(f'{100 * one:.0f}' for one in successes)}"


def plot() -> None:
    """Success against simulator steps, and below where episodes began, one column a task."""
    figure, axes = plt.subplots(2, len(PICTURED), figsize=(3.4 * len(PICTURED), 6.0), squeeze=False)
    for name, column in zip(PICTURED, axes.T, strict=True):
        task = TASKS[name]
        for variant, color in COLORS.items():
            steps = np.linspace(0.0, task.steps, EVALUATIONS + 1)
            if runs := STORE.frames(name, variant):
                curves = np.array([np.interp(steps, [0, *one["steps"]], [0, *one["success"]]) for one in runs])
                column[0].plot(steps / 1000, interquartile_mean(curves, axis=0), color=color, label=variant)
            for path in STORE.paths(name, variant)[:1]:
                begun = np.array(notes_of(path)["begun"]).reshape(-1, 2)
                column[1].plot(begun[:, 0] / 1000, begun[:, 1], ".", markersize=3, color=color, label=variant)
        column[0].set(title=name, ylim=(-0.05, 1.05))
        column[1].set(xlabel="thousand simulator steps")
        for axis in column:
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("success from the true start")
    axes[1, 0].set_ylabel("steps into its episode\nwhere a restart began")
    save_panels(figure, axes, STORE.path / "restarts.png", 0.08)


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=VARIANTS,
    seeds=(0, 1, 2, 3, 4),
    changeable=True,
    tables={"restarts": table},
    plots=(plot,),
)
