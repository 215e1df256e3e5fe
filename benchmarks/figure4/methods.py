"""What is compared: single path and vine, and what the paper and its forerunners have, at equal simulator steps."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

from benchmarks.figure4.evolution import CrossEntropy, Network, covariance_adaptation, search
from benchmarks.figure4.max_kl import max_kl
from benchmarks.figure4.reps import RelativeEntropySearch
from benchmarks.figure4.tasks import HORIZON, Task
from benchmarks.figure4.updates import (
    CG_STEPS,
    DAMPING,
    DELTA,
    NaturalGradient,
    PolicySearch,
    VanillaGradient,
    empirical_fisher,
)
from sb3_trpo import TRPO

BRANCHES = 4
WITHOUT_NOISE = "return without noise"


class Iterations:
    """A row for every policy iteration: simulator steps so far, episodes that ended in it, their mean undiscounted return."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.started = time.process_time()

    def add(self, steps: int, returns: list[float]) -> None:
        row: dict[str, float] = {"iteration": len(self.rows) + 1, "steps": steps, "episodes": len(returns)}
        row["return"] = round(float(np.mean(returns)), 3) if returns else float("nan")
        row["processor_seconds"] = round(time.process_time() - self.started, 2)
        self.rows.append(row)


class TrainingEpisodes(BaseCallback):
    """Of every rollout; with a vine those of the trunk, while the branches' steps count.

    :param iterations: to write to
    """

    def __init__(self, iterations: Iterations):
        super().__init__()
        self.iterations = iterations
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_end(self) -> None:
        self.iterations.add(self.num_timesteps, self.returns)
        self.returns = []


def rollouts(
    algorithm: Callable[..., TRPO], task: Task, seed: int, iterations: Iterations, vine: bool = False
) -> dict[str, Any]:
    """Any method that improves one stochastic policy from its rollouts; returns settings and what its mean action earns."""
    n_envs = (task.trunk if vine else task.batch) // HORIZON
    settings: dict[str, Any] = {
        "n_steps": HORIZON,
        "gamma": task.gamma,
        "advantage_estimator": "monte_carlo",
        "target_kl": DELTA,
        "cg_damping": DAMPING,
        "cg_max_steps": CG_STEPS,
        "n_critic_updates": 0,
    }
    if vine:
        n_states = (task.batch - task.trunk) // (BRANCHES * task.branch_length)
        options = {
            "n_states": n_states,
            "branches_per_state": BRANCHES,
            "branch_length": task.branch_length,
            "bootstrap": False,
        }
        settings |= {"sampling": "vine", "vine_kwargs": options}
    network = {"net_arch": {"pi": list(task.hidden), "vf": []}, "activation_fn": task.activation}
    envs = task.make_envs(n_envs, seed)
    model = algorithm("MlpPolicy", envs, batch_size=HORIZON, policy_kwargs=network, seed=seed, device="cpu", **settings)
    model.learn(task.steps, callback=TrainingEpisodes(iterations))
    mean, _ = evaluate_policy(model, task.make_envs(5, seed + 10_000), n_eval_episodes=10)
    return {**settings, "n_envs": n_envs, WITHOUT_NOISE: round(float(mean), 3)}  # type: ignore[arg-type]


def evolution(strategy: Callable[..., Any], task: Task, seed: int, iterations: Iterations) -> dict[str, Any]:
    """Any method that searches among deterministic policies by their episodes; returns its settings."""
    env = task.make_env()
    env.reset(seed=seed)
    assert env.observation_space.shape is not None and env.action_space.shape is not None
    network = Network((*env.observation_space.shape, *task.hidden, *env.action_space.shape))
    steps = 0
    for returns, taken in search(strategy(network.size, np.random.default_rng(seed)), env, network):
        steps += taken
        iterations.add(steps, returns)
        if steps >= task.steps:
            break
    return {"parameters": network.size, "population": len(returns)}


Method = Callable[[Task, int, Iterations], dict[str, Any]]


def updated_by(update: Callable[..., Any]) -> Method:
    return partial(rollouts, partial(PolicySearch, update=update))


# Step sizes, of which the best is drawn
SWEPT: dict[str, dict[str, Method]] = {
    "natural gradient": {f"natural gradient, {size}": updated_by(NaturalGradient(size)) for size in (0.3, 1.0, 3.0)},
    "vanilla gradient": {f"vanilla gradient, {size}": updated_by(VanillaGradient(size)) for size in (0.3, 1.0, 3.0)},
}
METHODS: dict[str, Method] = {
    "single path": partial(rollouts, TRPO),
    "vine": partial(rollouts, TRPO, vine=True),
    **SWEPT["natural gradient"],
    "empirical Fisher": updated_by(empirical_fisher),
    "max KL": updated_by(max_kl),
    "CEM": partial(evolution, CrossEntropy),
    "CMA-ES": partial(evolution, covariance_adaptation),
    "REPS": updated_by(RelativeEntropySearch(epsilon=0.3)),
    **SWEPT["vanilla gradient"],
}
