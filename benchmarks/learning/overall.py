"""What the comparison says over all tasks together, and how much it depends on the seed (Agarwal et al. 2021)."""

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import markdown
from benchmarks.common.figures import band, save
from benchmarks.common.statistics import improvement, interquartile_mean, share_near_median
from benchmarks.learning.mujoco import METHODS, OTHERS, TASKS
from benchmarks.learning.scored import STORE, Scored, methods, runs

THRESHOLDS = np.linspace(0.0, 1.5, 151)
RESAMPLES = 2_000


def finals(found: list[Scored]) -> list[float]:
    return [run.final for run in found]


def improvement_table() -> str:
    """Probability that a run of ours ends above one of the other method, by task and over all tasks."""
    rows = []
    for other in OTHERS:
        pairs = {
            env_id: (finals(runs(env_id, "sb3_trpo")), finals(runs(env_id, other))) for env_id in TASKS if runs(env_id, other)
        }
        groups = {env_id: [pair] for env_id, pair in pairs.items()}
        if len(pairs) == len(TASKS):
            groups["all tasks"] = list(pairs.values())
        rows += [[METHODS[other].label, name, improvement(chosen)] for name, chosen in groups.items()]
    return markdown.table(["sb3_trpo above …", "task", "probability"], rows)


def seeds_table() -> str:
    """How much a final return depends on the seed."""
    rows = []
    for env_id in TASKS:
        for method, found in methods(env_id).items():
            scores = finals(found)
            numbers = (
                f"{np.median(scores):.0f}",
                f"{min(scores):.0f}",
                f"{max(scores):.0f}",
                f"{share_near_median(scores):.0%}",
            )
            rows.append([env_id, METHODS[method].label, str(len(scores)), *numbers])
    return markdown.table(["task", "method", "seeds", "median", "worst", "best", "within 20 % of the median"], rows)


def normalized(env_id: str) -> dict[str, np.ndarray]:
    """Final returns of every method, divided by the largest interquartile mean of the task."""
    scores = {method: np.array(finals(found)) for method, found in methods(env_id).items()}
    best = max(float(interquartile_mean(values)) for values in scores.values())
    return {method: values / best for method, values in scores.items()}


def profile(scores: list[np.ndarray]) -> np.ndarray:
    """Share of runs above each threshold, mean over tasks.

    :param scores: of each task's runs ``[…, runs]``
    """
    return np.mean([(values[..., None] > THRESHOLDS).mean(axis=-2) for values in scores], axis=0)


def plot_profile() -> None:
    """Share of runs whose final return, divided by the task's best interquartile mean, is above τ; runs resampled by task.

    Of the methods that have runs on all tasks.
    """
    figure, axis = plt.subplots(figsize=(6.0, 3.6))
    by_task = {env_id: normalized(env_id) for env_id in TASKS}
    rng = np.random.default_rng(0)
    for name, method in METHODS.items():
        scores = [of_task[name] for of_task in by_task.values() if name in of_task]
        if len(scores) < len(TASKS):
            continue
        drawn = [values[rng.integers(len(values), size=(RESAMPLES, len(values)))] for values in scores]
        bounds = np.percentile(profile(drawn), [2.5, 97.5], axis=0)
        band(axis, THRESHOLDS, profile(scores), bounds, method.color, method.label)
    axis.set(xlabel="τ: final return / best interquartile mean of the task", ylabel="share of runs above τ", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.tight_layout()
    save(figure, STORE.path / "profile.png")
