"""From a search direction to new parameters: the longest step, then backtracking (paper, appendix C)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch as th

from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.trust_region.conjugate_gradient import Solution
from sb3_trpo.trust_region.status import Status


@dataclass(frozen=True)
class Evaluation:
    """The objective and the constraint at some θ.

    :param surrogate: L(θ)
    :param kl: KL(π_θ₀ ‖ π_θ) of each state ``[B]``, nats
    :param ratio: π_θ(a|s) / π_θ₀(a|s) of each sample ``[B]``
    :param entropy: mean entropy of π_θ, nats (an estimate where there is no closed form)
    """

    surrogate: float
    kl: th.Tensor
    ratio: th.Tensor
    entropy: float


@dataclass(frozen=True)
class FullStep:
    """The step β x that spends the whole trust region in the quadratic model.

    :param vector: β x, flat ``[N]``
    :param size: β
    :param expected_improvement: gᵀβx, the first-order gain in L
    :param status: that of the solution, or ``CURVATURE``
    """

    vector: th.Tensor
    size: float
    expected_improvement: float
    status: Status


@dataclass(frozen=True)
class LineSearchResult:
    """Outcome of :func:`backtracking_line_search`; ``theta`` and ``evaluation`` are those of the policy to keep.

    :param theta: accepted parameters ``[N]``, or θ₀ itself
    :param evaluation: objective and KL there
    :param backtracks: candidates refused before
    :param step_size: β · shrink^backtracks of the accepted step, 0 when none was
    :param status: ``OK``, or why nothing was accepted
    """

    theta: th.Tensor
    evaluation: Evaluation
    backtracks: int
    step_size: float
    status: Status


def full_step(solution: Solution, gradient: th.Tensor, target_kl: float) -> FullStep:
    """β x with β = √(2δ / xᵀ(F + λI)x): ½ (βx)ᵀ(F + λI)(βx) = δ.

    :param solution: x with its quadratic form
    :param gradient: g ``[N]``
    :param target_kl: δ ≥ 0, nats
    """
    status, form = solution.status, solution.quadratic_form
    if status.usable and not (math.isfinite(form) and form > 0.0):
        status = Status.CURVATURE
    if not status.usable:
        return FullStep(th.zeros_like(gradient), 0.0, 0.0, status)
    size = math.sqrt(2.0 * target_kl / form)
    vector = size * solution.x
    return FullStep(vector, size, float(gradient @ vector), status)


def backtracking_line_search(
    evaluate: Callable[[th.Tensor], Evaluation],
    theta: th.Tensor,
    start: Evaluation,
    step: FullStep,
    target_kl: float,
    shrinking_factor: float,
    max_iter: int,
    ranks: Ranks = ALONE,
) -> LineSearchResult:
    """First of θ₀ + shrink^i β x, i = 0, 1, …, with mean KL ≤ δ **and** L(θ) > L(θ₀).

    A comparison with NaN is false, so a candidate whose objective or KL is not a number is refused like any other.

    :param evaluate: objective and KL at a flat θ
    :param theta: θ₀, flat ``[N]``; never written to
    :param start: the evaluation at θ₀
    :param step: the full step; when it was refused, so is the search, for the same reason
    :param target_kl: δ ≥ 0, nats
    :param shrinking_factor: in (0, 1)
    :param max_iter: most candidates to try
    :param ranks: processes that hold further states, as many each; an evaluation's KL is that of the states here
    """
    if not step.status.usable:
        return LineSearchResult(theta, start, 0, 0.0, step.status)
    for backtracks in range(max_iter):
        fraction = shrinking_factor**backtracks
        candidate = theta + fraction * step.vector
        evaluation = evaluate(candidate)
        if float(ranks.mean(evaluation.kl.mean())) <= target_kl and evaluation.surrogate > start.surrogate:
            return LineSearchResult(candidate, evaluation, backtracks, fraction * step.size, Status.OK)
    return LineSearchResult(theta, start, max_iter, 0.0, Status.NO_CANDIDATE)
