"""Each setting of TRPO by itself, around the constructor's defaults, on five tasks.

Everywhere two environments of 1,024 steps a rollout and normalised observations and rewards; Swimmer needs a longer horizon,
so its discount factor is 0.999. Three seeds; a run's score is the mean of its evaluations (five deterministic episodes every
10,000 steps).
"""

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import torch as th

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.training import Plan, Variant, make_run
from sb3_trpo import TRPO
from sb3_trpo.trust_region import backtracking_line_search, full_step
from sb3_trpo.update import PolicyObjective, Step, StepOptions, policy_step

STORE = Runs("ablations", kept="")
COMMON = {"policy": "MlpPolicy", "normalize": True, "n_envs": 2, "n_steps": 1024}
DAMPING = 0.1  # the constructor's default
# Steps, and what a task needs to be learned at all
TASKS: dict[str, tuple[int, dict[str, Any]]] = {
    "Hopper-v5": (200_000, {}),
    "HalfCheetah-v5": (200_000, {}),
    "Swimmer-v5": (200_000, {"gamma": 0.999}),
    "InvertedDoublePendulum-v5": (100_000, {}),
    "Acrobot-v1": (50_000, {}),
}


def step_without_damping(solution: Any, gradient: th.Tensor, target_kl: float) -> Any:
    """β from xᵀF x: the quadratic model of the KL alone."""
    form = solution.quadratic_form - DAMPING * float(solution.x @ solution.x)
    return full_step(replace(solution, quadratic_form=form), gradient, target_kl)


def search_by_kl_alone(evaluate: Any, theta: th.Tensor, start: Any, *others: Any) -> Any:
    """Accept whatever keeps the trust region."""
    return backtracking_line_search(evaluate, theta, replace(start, surrogate=-float("inf")), *others)


def search_by_a_tenth(
    evaluate: Any, theta: th.Tensor, start: Any, step: Any, target_kl: float, factor: float, *others: Any
) -> Any:
    """Accept an improvement of at least a tenth of the expected one."""
    backtracks = count()

    def demanding(candidate: th.Tensor) -> Any:
        found = evaluate(candidate)
        return replace(found, surrogate=found.surrogate - 0.1 * factor ** next(backtracks) * step.expected_improvement)

    return backtracking_line_search(demanding, theta, start, step, target_kl, factor, *others)


def step_with(**stages: Any) -> dict[str, Any]:
    """TRPO's step with other stages."""

    def find_step(model: TRPO, objective: PolicyObjective) -> Step:
        return policy_step(objective, StepOptions.of(model), **stages)

    return {"_find_step": find_step}


VARIANTS: dict[str, Variant] = {
    "defaults": Variant(),
    **{f"target_kl={value}": Variant({"target_kl": value}) for value in (0.02, 0.03, 0.05, 0.1)},
    **{f"cg_damping={value}": Variant({"cg_damping": value}) for value in (0.01, 0.03, 0.3)},
    "step size without damping": Variant(methods=step_with(length=step_without_damping)),
    **{f"fisher_sample_fraction={value}": Variant({"fisher_sample_fraction": value}) for value in (0.1, 0.25)},
    **{f"cg_max_steps={value}": Variant({"cg_max_steps": value}) for value in (5, 10, 25)},
    **{f"n_critic_updates={value}": Variant({"n_critic_updates": value}) for value in (5, 20, 40)},
    **{f"learning_rate={value}": Variant({"learning_rate": value}) for value in (3e-4, 3e-3)},
    "observations not normalised": Variant({"normalize": {"norm_obs": False}}),
    "rewards not normalised": Variant({"normalize": {"norm_reward": False}}),
    "neither normalised": Variant({"normalize": False}),
    "advantages not normalised": Variant({"normalize_advantage": False}),
    "accepted by the KL alone": Variant(methods=step_with(line_search=search_by_kl_alone)),
    **{f"log_std_init={value}": Variant({"policy_kwargs": {"log_std_init": value}}) for value in (-1.0, -2.0)},
    "accepted at a tenth of the expected improvement": Variant(methods=step_with(line_search=search_by_a_tenth)),
}


def run(cell: Cell) -> Run | None:
    (steps, needed), variant = TASKS[cell.task], VARIANTS[cell.variant]
    settings = {**COMMON, **needed, **variant.settings}
    plan = Plan("sb3_trpo", cell.task, settings, steps, cell.seed, every=10_000, methods=variant.methods)
    return make_run(plan, cell.changes)


def table() -> str:
    """Mean score of every variant on every task; bold where it differs from the defaults' by two standard errors."""
    scores = {label: [_scores(env_id, label) for env_id in TASKS] for label in VARIANTS}
    rows = [[label, *map(_cell, found, scores["defaults"])] for label, found in scores.items()]
    return markdown.table(["", *TASKS], rows)


def _scores(env_id: str, label: str) -> list[float]:
    return [float(frame["mean"].mean()) for frame in STORE.frames(env_id, label)]


def _cell(scores: list[float], base: list[float]) -> str:
    if not scores:
        return "–"
    error = np.hypot(_standard_error(scores), _standard_error(base))
    cell = f"{np.mean(scores):.0f} ({', '.join(f'{score:.0f}' for score in scores)})"
    return f"**{cell}**" if abs(np.mean(scores) - np.mean(base)) > 2 * error else cell


def _standard_error(scores: list[float]) -> float:
    return float(np.std(scores, ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else np.inf


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=VARIANTS,
    seeds=(0, 1, 2),
    included=lambda cell: cell.task != "Acrobot-v1" or "log_std_init" not in cell.variant,  # which is of continuous actions
    changeable=True,
    tables={"ablations": table},
)
