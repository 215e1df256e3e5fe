"""KL divergence and Fisher matrix of every action distribution, against torch.distributions and against sampling."""

import math

import pytest
import torch as th
from torch.autograd.functional import hessian

from sb3_trpo.trust_region import Bernoulli, Categorical


@pytest.fixture
def rng():
    return th.Generator().manual_seed(0)


def draw(rng, rows, case):
    """Parameters φ of some states: means, log-stds or logits of order one, in float64."""
    return 0.7 * th.randn(rows, case.width, generator=rng, dtype=th.float64)


def test_kl_is_that_of_the_joint_distribution(case, rng):
    """Truth: torch's KL(old ‖ new), old first, summed over action dimensions; float64, 1e-12."""
    old, new = draw(rng, 64, case), draw(rng, 64, case)
    actual = case.family.kl_divergence(old, new)
    assert actual.shape == (64,)
    th.testing.assert_close(actual, case.kl_divergence(old, new), rtol=1e-12, atol=1e-12)


def test_kl_agrees_with_sampling(case, rng):
    """Truth: KL = E_old[log π_old(a) − log π_new(a)], a mean over 100,000 actions of one state; 3 standard errors."""
    th.manual_seed(0)
    old, new = draw(rng, 1, case), draw(rng, 1, case)
    samples = th.zeros(100_000, dtype=th.float64)
    for p, q in zip(case.factors(old), case.factors(new), strict=True):
        actions = p.sample((len(samples),))
        samples += (p.log_prob(actions) - q.log_prob(actions)).squeeze(1)
    standard_error = samples.std() / len(samples) ** 0.5
    kl = case.family.kl_divergence(old, new)
    assert kl > 30 * standard_error  # there is something to tell apart from 0
    assert abs(samples.mean() - kl) < 3 * standard_error


def test_fisher_matrix_is_the_curvature_of_the_kl(case, rng):
    """Truth: M_s v, M_s the dense Hessian of KL(φ_s ‖ φ) in φ at φ = φ_s, from torch's KL; float64, 1e-10 a state."""
    phi, vector = draw(rng, 8, case), draw(rng, 8, case)
    product = case.family.fisher(phi)(vector)
    for row in range(8):
        at = phi[row : row + 1]
        matrix = hessian(lambda new, at=at: case.kl_divergence(at, new[None]).squeeze(), at[0])
        th.testing.assert_close(product[row], matrix @ vector[row], rtol=0, atol=1e-10)


def test_small_kl_in_single_precision(case, rng):
    """Truth: the same formula in float64 at the same float32 numbers; within 1 % in every state, and never below 0.

    A relative change of ±1e-4 makes a divergence of order 1e-8. The textbook formulas, Σ p (log p − log p') and
    ½(r − 1 − log r), lose it in float32's rounding errors of 1e-7: torch's own are more than 10 % off.
    """
    sign, change = (1.0 - 2.0 * th.randint(2, (50, case.width), generator=rng) for _ in range(2))
    old = (sign * (0.5 + th.rand(50, case.width, generator=rng))).float()
    new = old * (1.0 + 1e-4 * change)
    truth = case.family.kl_divergence(old.double(), new.double())

    def error(kl):
        return (kl.double() / truth - 1.0).abs().max()

    kl = case.family.kl_divergence(old, new)
    assert kl.dtype == th.float32 and (kl >= 0.0).all()
    assert error(kl) < 0.01
    assert error(case.kl_divergence(old, new)) > 0.1


def test_discrete_kl_survives_saturation() -> None:
    """Where an improbable outcome gains a hundred nats, or is impossible before and after, float32 gives the true value."""
    two, coin = Categorical((2,)), Bernoulli()
    rows = [([0.0, -200.0], [0.0, -100.0]), ([0.0, -th.inf], [1.0, -th.inf])]
    for old, new in rows:
        assert float(two.kl_divergence(th.tensor([old]), th.tensor([new]))) == pytest.approx(0.0, abs=1e-30)
    assert float(coin.kl_divergence(th.tensor([[-200.0]]), th.tensor([[-100.0]]))) == pytest.approx(0.0, abs=1e-30)
    wide = float(two.kl_divergence(th.tensor([[0.0, -5.0]]), th.tensor([[-5.0, 0.0]])))
    p = 1.0 / (1.0 + math.exp(-5.0))
    assert wide == pytest.approx((2.0 * p - 1.0) * 5.0, rel=1e-6)
