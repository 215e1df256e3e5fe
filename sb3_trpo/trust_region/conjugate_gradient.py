"""Conjugate gradient for symmetric positive definite systems given by products alone (paper, appendix C)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch as th

from sb3_trpo.checks import check_count
from sb3_trpo.trust_region.status import Status


@dataclass(frozen=True)
class Solution:
    """Result of :func:`conjugate_gradient`.

    :param x: the approximate solution ``[N]``; zero when the status is not usable, so that a step along it goes nowhere
    :param status: ``OK``, ``MAX_STEPS``, ``ZERO_GRADIENT``, ``NOT_FINITE`` or ``CURVATURE``
    :param iterations: products used
    :param residual: ‖b − A x‖ / ‖b‖, from the products already made: within a per cent while it is far above rounding,
        too small once the iteration has converged as far as float32 goes
    :param quadratic_form: xᵀA x, from the products already made; NaN where no x was found
    """

    x: th.Tensor
    status: Status
    iterations: int
    residual: float
    quadratic_form: float


def conjugate_gradient(
    product: Callable[[th.Tensor], th.Tensor], b: th.Tensor, max_steps: int, tolerance: float = 1e-6
) -> Solution:
    """Solve A x = b, starting from x = 0.

    A x is accumulated beside x, which gives the quadratic form without another product. Nothing is random here, and
    the stopping rule is relative, so the result scales with b.

    :param product: the map v ↦ A v, A symmetric positive definite
    :param b: right-hand side ``[N]``
    :param max_steps: most products to make, at least 1
    :param tolerance: stop at ‖b − A x‖ ≤ tolerance · ‖b‖; below 1e-6 float32 gives noise
    :return: the solution with its status; an indefinite or non-finite system is reported, not solved
    :raises ValueError: if ``max_steps`` is smaller than 1
    """
    check_count("max_steps", max_steps, 1)
    nothing = th.zeros_like(b)
    b_norm = float(b.double().norm())
    if not th.isfinite(b).all():
        return Solution(nothing, Status.NOT_FINITE, 0, float("nan"), float("nan"))
    if b_norm == 0.0:
        return Solution(nothing, Status.ZERO_GRADIENT, 0, 0.0, 0.0)

    # The system is scaled to ‖b‖ = 1: squared norms of a tiny or a huge b would leave float32's range.
    unit = b / b_norm
    x, ax, residual, direction = nothing.clone(), nothing.clone(), unit.clone(), unit.clone()
    squared_residual = float(residual @ residual)
    status = Status.MAX_STEPS
    for iteration in range(1, max_steps + 1):
        a_direction = product(direction)
        curvature = float(direction @ a_direction)
        if not curvature > 0.0 or curvature == float("inf"):
            failure = Status.CURVATURE if curvature <= 0.0 else Status.NOT_FINITE
            return Solution(nothing, failure, iteration, float("nan"), float("nan"))
        length = squared_residual / curvature
        x.add_(direction, alpha=length)
        ax.add_(a_direction, alpha=length)
        residual.sub_(a_direction, alpha=length)
        previous, squared_residual = squared_residual, float(residual @ residual)
        if squared_residual <= tolerance**2:
            status = Status.OK
            break
        direction = th.add(residual, direction, alpha=squared_residual / previous)

    quadratic_form = float(x @ ax) * b_norm**2
    true_residual = float((unit - ax).norm())
    x = x * b_norm
    if not th.isfinite(x).all():
        return Solution(nothing, Status.NOT_FINITE, iteration, true_residual, float("nan"))
    return Solution(x, status, iteration, true_residual, quadratic_form)
