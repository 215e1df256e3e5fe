"""The step's length, ½ (βx)ᵀA(βx) = δ, and backtracking to the first candidate that keeps the KL and improves L."""

import pytest
import torch as th

from sb3_trpo.trust_region import (
    Evaluation,
    FullStep,
    Solution,
    Status,
    backtracking_line_search,
    conjugate_gradient,
    full_step,
)

NAN, INF = float("nan"), float("inf")
DELTA = 0.01
UNUSABLE = [status for status in Status if not status.usable]


@pytest.mark.parametrize("max_steps", [1, 3, 50])
def test_full_step_spends_the_whole_trust_region(max_steps):
    """Truth: δ = ½ stepᵀA step for the dense A, solved to the end or cut short; the gain is gᵀstep; float64, 1e-10."""
    rng = th.Generator().manual_seed(0)
    root = th.randn(8, 8, generator=rng, dtype=th.float64)
    a = root @ root.T + 0.1 * th.eye(8, dtype=th.float64)
    gradient = th.randn(8, generator=rng, dtype=th.float64)
    solution = conjugate_gradient(a.mv, gradient, max_steps)
    step = full_step(solution, gradient, DELTA)
    assert 0.5 * float(step.vector @ a @ step.vector) == pytest.approx(DELTA, rel=1e-10)
    assert step.expected_improvement == pytest.approx(float(gradient @ step.vector), rel=1e-10)
    assert step.expected_improvement > 0.0
    assert th.equal(step.vector, step.size * solution.x)
    assert step.status is solution.status


def refused(step, status):
    return step.status is status and th.equal(step.vector, th.zeros(2)) and step.size == step.expected_improvement == 0.0


@pytest.mark.parametrize("status", UNUSABLE)
def test_full_step_refuses_an_unusable_solution(status):
    """Truth: the solver's own status and a zero step, whatever x holds."""
    assert refused(full_step(Solution(th.ones(2), status, 3, 0.1, 2.0), th.ones(2), DELTA), status)


@pytest.mark.parametrize("form", [0.0, -1.0, NAN, INF])
def test_full_step_refuses_a_bad_quadratic_form(form):
    """Truth: β = √(2δ / xᵀAx) is no positive number, so CURVATURE and a zero step."""
    x = th.tensor([1.0, 0.0])
    assert refused(full_step(Solution(x, Status.OK, 3, 0.1, form), x, DELTA), Status.CURVATURE)


THETA = th.tensor([1.0, -2.0])
START = Evaluation(0.0, th.zeros(4), th.ones(4), 1.0)
STEP = FullStep(th.tensor([1.0, 0.0]), 4.0, 1.0, Status.OK)


def search(surrogate, kl, step=STEP, max_iter=5):
    """Search along the first axis: surrogate and mean KL are functions of the share t of the full step, 1, ½, ¼, …"""
    tried = []

    def evaluate(theta):
        tried.append(float(theta[0] - THETA[0]))
        return Evaluation(surrogate(tried[-1]), kl(tried[-1]) * th.tensor([0.0, 0.0, 2.0, 2.0]), th.ones(4), 1.0)

    before = THETA.clone()
    result = backtracking_line_search(evaluate, THETA, START, step, DELTA, 0.5, max_iter)
    assert th.equal(THETA, before)  # never written to, whatever happens
    return result, tried


ACCEPTED = {
    "full step": (lambda t: t, lambda t: DELTA * t, 0),
    "mean KL too large until t = 1/4": (lambda t: t, lambda t: DELTA * 16 * t**2, 2),
    "no improvement until t = 1/8": (lambda t: t * (0.2 - t), lambda t: DELTA * t, 3),
    "improvement at once, KL not": (lambda t: 1.0, lambda t: DELTA if t < 0.6 else 2.0 * DELTA, 1),
    "KL at once, improvement not": (lambda t: 1.0 if t < 0.6 else -1.0, lambda t: 0.0, 1),
    "NaN far out": (lambda t: t if t < 0.3 else NAN, lambda t: DELTA * t, 2),
    "KL NaN far out": (lambda t: t, lambda t: DELTA * t if t < 0.3 else NAN, 2),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts_the_first_candidate_that_passes_both_tests(name):
    """Truth: i by hand for candidates θ₀ + ½^i βx; step size β ½^i; KL = δ exactly is allowed. Halves are exact in float32."""
    surrogate, kl, backtracks = ACCEPTED[name]
    result, tried = search(surrogate, kl)
    assert tried == [0.5**i for i in range(backtracks + 1)]
    assert (result.status, result.backtracks) == (Status.OK, backtracks)
    assert result.step_size == STEP.size * 0.5**backtracks
    assert th.equal(result.theta, THETA + 0.5**backtracks * STEP.vector)
    assert result.evaluation.surrogate == surrogate(tried[-1])


REFUSED = {
    "L gets worse": (lambda t: -t, lambda t: 0.0),
    "L stays equal": (lambda t: 0.0, lambda t: 0.0),
    "KL too large": (lambda t: t, lambda t: 1.01 * DELTA),
    "L is NaN": (lambda t: NAN, lambda t: 0.0),
    "KL is NaN": (lambda t: t, lambda t: NAN),
    "KL is infinite": (lambda t: t, lambda t: INF),
}


@pytest.mark.parametrize("name", REFUSED)
def test_keeps_theta_when_no_candidate_passes(name):
    """Truth: θ₀ bit for bit with its own evaluation, step size 0, after all of max_iter candidates."""
    result, tried = search(*REFUSED[name], max_iter=4)
    assert tried == [1.0, 0.5, 0.25, 0.125]
    assert (result.status, result.backtracks, result.step_size) == (Status.NO_CANDIDATE, 4, 0.0)
    assert th.equal(result.theta, THETA)
    assert result.evaluation is START


@pytest.mark.parametrize("status", UNUSABLE)
def test_a_refused_step_is_not_searched(status):
    """Truth: no evaluation, θ₀ with its own evaluation, and the reason passed on."""
    result, tried = search(lambda t: 1.0, lambda t: 0.0, FullStep(th.zeros(2), 0.0, 0.0, status))
    assert tried == []
    assert (result.status, result.backtracks, result.step_size) == (status, 0, 0.0)
    assert th.equal(result.theta, THETA)
    assert result.evaluation is START
