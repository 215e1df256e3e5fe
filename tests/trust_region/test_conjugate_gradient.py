"""Conjugate gradient for A x = b: dense solutions, honest by-products, scale, and the systems it must refuse."""

import math

import pytest
import torch as th

from sb3_trpo.trust_region import Status, conjugate_gradient

SIZE = 20


def system(condition, dtype=th.float64):
    """A random symmetric A with eigenvalues spread geometrically over [1/condition, 1], and a random b."""
    rng = th.Generator().manual_seed(0)
    basis, _ = th.linalg.qr(th.randn(SIZE, SIZE, generator=rng, dtype=th.float64))
    eigenvalues = th.logspace(0, -1, SIZE, base=condition, dtype=th.float64)
    b = th.randn(SIZE, generator=rng, dtype=th.float64)
    return (basis * eigenvalues @ basis.T).to(dtype), b.to(dtype)


def relative_error(actual, truth):
    return float((actual - truth).norm() / truth.norm())


@pytest.mark.parametrize("condition", [1.0, 10.0, 1e3, 1e5])
def test_solves_positive_definite_systems(condition):
    """Truth: torch.linalg.solve. ‖x − x*‖/‖x*‖ ≤ κ ‖b − Ax‖/‖b‖, so the tolerance is κ times that of the residual."""
    a, b = system(condition)
    solution = conjugate_gradient(a.mv, b, max_steps=200, tolerance=1e-10)
    assert solution.status is Status.OK
    assert relative_error(solution.x, th.linalg.solve(a, b)) < 1.01 * condition * 1e-10


@pytest.mark.parametrize("distinct", [1, 2, 5])
def test_needs_as_many_steps_as_there_are_distinct_eigenvalues(distinct):
    """Truth: in exact arithmetic CG ends after one step a distinct eigenvalue, and one fewer does not do."""
    diagonal = 1.0 + th.arange(SIZE, dtype=th.float64) % distinct
    b = th.ones(SIZE, dtype=th.float64)
    assert conjugate_gradient(lambda v: diagonal * v, b, max_steps=SIZE).iterations == distinct


@pytest.mark.parametrize("max_steps", [1, 3, 7, 200])
@pytest.mark.parametrize("condition", [10.0, 1e3])
def test_by_products_are_those_of_the_returned_x(condition, max_steps):
    """Truth: xᵀAx and ‖b − Ax‖/‖b‖ computed from outside, however early CG stops; float64, 1e-12. A call is an iteration."""
    a, b = system(condition)
    calls = []
    solution = conjugate_gradient(lambda v: calls.append(v) or a @ v, b, max_steps, tolerance=1e-8)
    assert solution.quadratic_form == pytest.approx(float(solution.x @ a @ solution.x), rel=1e-12)
    assert solution.residual == pytest.approx(relative_error(a @ solution.x, b), rel=1e-6, abs=1e-12)
    assert solution.iterations == len(calls)
    if max_steps == 200:
        assert solution.status is Status.OK and solution.residual < 1e-8
    else:
        assert solution.status is Status.MAX_STEPS and solution.residual > 1e-8 and len(calls) == max_steps


@pytest.mark.parametrize("condition", [10.0, 1e3, 1e5])
def test_by_products_in_single_precision(condition):
    """Truth: the same two recomputed in float64 for the float32 x of 15 steps, the solver's usual share; 1e-4 and 1 %."""
    a, b = system(condition, th.float32)
    solution = conjugate_gradient(a.mv, b, max_steps=15)
    a, b, x = a.double(), b.double(), solution.x.double()
    assert solution.quadratic_form == pytest.approx(float(x @ a @ x), rel=1e-4)
    assert solution.residual == pytest.approx(relative_error(a @ x, b), rel=0.01)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scales_with_b(scale):
    """Truth: x is linear in b, though ‖b‖² of either scale is outside float32's range; 1e-5."""
    a, b = system(10.0, th.float32)
    reference, scaled = conjugate_gradient(a.mv, b, SIZE), conjugate_gradient(a.mv, scale * b, SIZE)
    assert (scaled.status, scaled.iterations) == (reference.status, reference.iterations)
    assert relative_error(scaled.x / scale, reference.x) < 1e-5
    assert scaled.quadratic_form == pytest.approx(reference.quadratic_form * scale**2, rel=1e-5)


NAN, INF = float("nan"), float("inf")
REFUSED = {  # the matrix, b, the status, and the product that shows it
    "indefinite, seen at once": ([[1.0, 0.0], [0.0, -1.0]], [1.0, 1.0], Status.CURVATURE, 1),
    "indefinite, seen at the second step": ([[3.0, 0.0], [0.0, -1.0]], [1.0, 1.0], Status.CURVATURE, 2),
    "negative definite": ([[-1.0, 0.0], [0.0, -2.0]], [1.0, 1.0], Status.CURVATURE, 1),
    "zero matrix": ([[0.0, 0.0], [0.0, 0.0]], [1.0, 1.0], Status.CURVATURE, 1),
    "NaN in the matrix": ([[1.0, 0.0], [0.0, NAN]], [1.0, 1.0], Status.NOT_FINITE, 1),
    "infinity in the matrix": ([[1.0, 0.0], [0.0, INF]], [1.0, 1.0], Status.NOT_FINITE, 1),
    "infinite curvature": ([[INF, INF], [INF, INF]], [1.0, 1.0], Status.NOT_FINITE, 1),
    "x overflows": ([[1e-38, 0.0], [0.0, 1e-38]], [1e10, 1e10], Status.NOT_FINITE, 1),
    "NaN in b": ([[1.0, 0.0], [0.0, 1.0]], [1.0, NAN], Status.NOT_FINITE, 0),
    "infinity in b": ([[1.0, 0.0], [0.0, 1.0]], [INF, 1.0], Status.NOT_FINITE, 0),
    "zero b": ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], Status.ZERO_GRADIENT, 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_it_cannot_solve(name):
    """Truth: the status by the definition of the system, as early as it shows; x is exactly 0, so that no step follows it."""
    a, b, status, products = REFUSED[name]
    solution = conjugate_gradient(th.tensor(a).mv, th.tensor(b), max_steps=10)
    assert (solution.status, solution.iterations) == (status, products)
    assert not solution.status.usable
    assert th.equal(solution.x, th.zeros(2))
    assert solution.quadratic_form == 0.0 if status is Status.ZERO_GRADIENT else math.isnan(solution.quadratic_form)


def test_nothing_is_random():
    """Truth: the same call gives the same bits, torch's global generator stands where it stood, b is left alone."""
    a, b = system(1e3)
    state, before = th.get_rng_state(), b.clone()
    first, second = conjugate_gradient(a.mv, b, SIZE), conjugate_gradient(a.mv, b, SIZE)
    assert th.equal(first.x, second.x)
    assert th.equal(th.get_rng_state(), state)
    assert th.equal(b, before)


def test_one_product_is_the_least():
    with pytest.raises(ValueError, match="max_steps=0 is too small"):
        conjugate_gradient(lambda vector: vector, th.ones(2), max_steps=0)
