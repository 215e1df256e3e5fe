"""The policy's step (paper, section 6 and appendix C): gradient, conjugate gradient, step size, line search."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch as th

from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.schedules import present_value
from sb3_trpo.trust_region import (
    Evaluation,
    FisherMatrix,
    FullStep,
    LineSearchResult,
    Solution,
    Status,
    backtracking_line_search,
    conjugate_gradient,
    full_step,
)


class Objective(Protocol):
    """What a step improves, and the constraint that it keeps.

    :param theta: θ₀ ``[N]``
    :param gradient: of the objective at θ₀ ``[N]``
    :param start: objective and constraint at θ₀
    """

    theta: th.Tensor
    gradient: th.Tensor
    start: Evaluation

    def fisher(self, damping: float, fraction: float = 1.0) -> FisherMatrix:
        """F + λI at θ₀, over all states or a random share of them."""
        ...

    def evaluate(self, theta: th.Tensor) -> Evaluation:
        """Objective and constraint at another θ."""
        ...


@dataclass(frozen=True)
class StepOptions:
    """How a step is made; :class:`~sb3_trpo.TRPO` documents each under the same name."""

    target_kl: float
    cg_damping: float
    cg_max_steps: int
    line_search_shrinking_factor: float
    line_search_max_iter: int
    fisher_sample_fraction: float

    @classmethod
    def of(cls, model: object) -> "StepOptions":
        """A model's options: its attributes of the same names, schedules at their present value."""
        return cls(**{field.name: present_value(model, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Step:
    """What became of a step, stage by stage.

    :param start: objective and constraint at θ₀
    :param solution: of the conjugate gradient
    :param full: the step that spends the whole trust region
    :param search: the line search; its ``theta`` and ``evaluation`` are those of the policy to keep
    """

    start: Evaluation
    solution: Solution
    full: FullStep
    search: LineSearchResult

    @property
    def status(self) -> Status:
        """``OK`` if a step was found, else why not."""
        return self.search.status


def policy_step(
    objective: Objective,
    options: StepOptions,
    ranks: Ranks = ALONE,
    length: Callable[..., FullStep] = full_step,
    line_search: Callable[..., LineSearchResult] = backtracking_line_search,
) -> Step:
    """Find θ with a better objective within the trust region; nothing is moved.

    :param objective: at θ₀
    :param options: of the step
    :param ranks: processes that hold further samples, as many each
    :param length: from the solution to the full step, as :func:`~sb3_trpo.trust_region.full_step`
    :param line_search: from the full step to θ, as :func:`~sb3_trpo.trust_region.backtracking_line_search`
    """
    fisher = objective.fisher(options.cg_damping, options.fisher_sample_fraction)
    solution = conjugate_gradient(fisher.product, objective.gradient, options.cg_max_steps)
    if options.fisher_sample_fraction < 1.0:  # x was fitted to the sample, which is flatter along it than all states are
        solution = replace(solution, quadratic_form=objective.fisher(options.cg_damping).quadratic_form(solution.x))
    full = length(solution, objective.gradient, options.target_kl)
    search = line_search(
        objective.evaluate,
        objective.theta,
        objective.start,
        full,
        options.target_kl,
        options.line_search_shrinking_factor,
        options.line_search_max_iter,
        ranks,
    )
    return Step(objective.start, solution, full, search)
