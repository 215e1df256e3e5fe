"""Does the average of the policies earn more than the last one?

Training is the same with any share that the average keeps, so one run measures all of them, in turn, at the same moments:
differences are between policies of the same run. 500,000 steps with each task's settings.
"""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.training import Observer, Plan, settings_for, train
from benchmarks.learning.mujoco import TASKS

STORE = Runs("averaging")
STEPS, SEEDS = 500_000, (301, 302, 303)
VARIANT = "sb3_trpo"
SHARES = (0.8, 0.9, 0.95)


class Averages(Observer):
    """Evaluates the averages after the last policy."""

    averages: dict[float, dict[str, th.Tensor]]

    def _policy(self) -> dict[str, th.Tensor]:
        return {name: value.clone() for name, value in self.model.policy.state_dict().items()}

    def _on_training_start(self) -> None:
        self.averages = {}

    def _on_rollout_start(self) -> None:
        super()._on_rollout_start()
        if self.num_timesteps:
            self._average()

    def _average(self) -> None:
        now = self._policy()
        for share in SHARES:
            before = self.averages.get(share, now)
            self.averages[share] = {name: th.lerp(value, before[name], share) for name, value in now.items()}

    def _on_training_end(self) -> None:
        self._average()
        super()._on_training_end()

    def _evaluate(self, begin: np.ndarray, episodes: int) -> None:
        super()._evaluate(begin, episodes)
        own = self._policy()
        for share in SHARES:
            self.model.policy.load_state_dict(self.averages.get(share, own))
            mean, _ = evaluate_policy(self.model, self.env, episodes)
            self.rows[-1][str(share)] = round(float(mean), 3)  # type: ignore[arg-type]
        self.model.policy.load_state_dict(own)


def run(cell: Cell) -> Run:
    settings, steps = {**settings_for("sb3_trpo", cell.task), **cell.changes}, int(cell.changes.get("n_timesteps", STEPS))
    _, observer = train(Plan("sb3_trpo", cell.task, settings, steps, cell.seed), observer=Averages)
    return Run(observer.rows, {"settings": settings, "seed": cell.seed})


def table() -> str:
    """Mean over the run of the last policy, and how much more the average has, in the same runs."""
    rows = []
    for env_id in TASKS:
        frames = STORE.frames(env_id, VARIANT)
        last = [float(frame["mean"].mean()) for frame in frames]
        cells = (_gain([float(frame[str(share)].mean()) for frame in frames], last) for share in SHARES)
        rows.append([env_id, str(len(frames)), f"{np.mean(last):.0f}" if last else "", *cells])
    return markdown.table(["mean over the run", "seeds", "last policy", *(f"average, c = {share}" for share in SHARES)], rows)


def _gain(averages: list[float], last: list[float]) -> str:
    """Mean of the differences, and each of them."""
    differences: Any = np.subtract(averages, last)
    return f"{np.mean(differences):+.0f} ({', '.join(f'{each:+.0f}' for each in differences)})" if last else ""


STUDY = Study(
    run=run, store=STORE, tasks=TASKS, variants=(VARIANT,), seeds=SEEDS, changeable=True, tables={"averaging": table}
)
