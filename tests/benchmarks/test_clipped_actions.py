"""Clipped actions: divergence, Fisher matrix and gradient, against quadrature, finite differences and the normals."""

import math

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.integrate import quad
from scipy.stats import norm
from stable_baselines3.common.distributions import DiagGaussianDistribution

from benchmarks.learning.clipped_actions import ClippedGaussian, ClippedGaussianDistribution
from sb3_trpo.trust_region import DiagonalGaussian

LOW, HIGH = th.tensor([-1.0, -0.4, 0.0]), th.tensor([1.0, 0.4, 5.0])
CLIPPED = ClippedGaussian(LOW, HIGH)


@pytest.fixture
def rng():
    return th.Generator().manual_seed(0)


def draw(rng, rows):
    """Means from well below the bounds to well above, deviations from 0.2 to 3."""
    mean = 3.0 * th.randn(rows, 3, generator=rng, dtype=th.float64)
    return th.cat([mean, 1.2 * th.rand(rows, 3, generator=rng, dtype=th.float64).mul(2.0).sub(1.3)], dim=1)


def quadrature(old, new):
    """KL by numerical integration, one state, one action dimension after another."""
    total = 0.0
    for low, high, i in zip(LOW.tolist(), HIGH.tolist(), range(3), strict=True):
        p, q = (norm(float(phi[i]), math.exp(phi[3 + i])) for phi in (old, new))
        total += p.cdf(low) * (p.logcdf(low) - q.logcdf(low)) + p.sf(high) * (p.logsf(high) - q.logsf(high))
        total += quad(lambda x, p=p, q=q: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high, epsabs=1e-13, limit=200)[0]
    return total


def test_kl_is_that_of_bounds_and_interval_together(rng):
    """Truth: quadrature between the bounds plus the two outcomes at them; 1e-9."""
    old, new = draw(rng, 40), draw(rng, 40)
    actual = CLIPPED.kl_divergence(old, new)
    expected = [quadrature(p, q) for p, q in zip(old, new, strict=True)]
    th.testing.assert_close(actual, th.tensor(expected, dtype=th.float64), rtol=1e-9, atol=1e-9)


def test_fisher_matrix_is_the_curvature_of_the_kl(rng):
    """Truth: KL(φ ‖ φ + hv) + KL(φ ‖ φ − hv) = h² vᵀMv + O(h⁴), for every v; 1e-4 of it with h = 1e-3."""
    phi, step = draw(rng, 40), 1e-3
    for _ in range(5):
        vector = th.randn(phi.shape, generator=rng, dtype=th.float64)
        form = (vector * CLIPPED.fisher(phi)(vector)).sum(dim=1)
        both = sum(CLIPPED.kl_divergence(phi, phi + side * step * vector) for side in (1.0, -1.0))
        th.testing.assert_close(both / step**2, form, rtol=1e-4, atol=1e-7)


def test_clipping_only_takes_away(rng):
    """What is clipped tells no more than what is not: KL and vᵀMv are at most the normals', and less by a good part."""
    old, new, normal = draw(rng, 40), draw(rng, 40), DiagonalGaussian()
    kl, whole = CLIPPED.kl_divergence(old, new), normal.kl_divergence(old, new)
    assert (kl <= whole + 1e-9).all() and kl.sum() < 0.9 * whole.sum()
    vector = th.randn(old.shape, generator=rng, dtype=th.float64)
    form, whole_form = ((vector * family.fisher(old)(vector)).sum(dim=1) for family in (CLIPPED, normal))
    assert (form <= whole_form + 1e-9).all() and form.sum() < 0.9 * whole_form.sum()


def test_far_bounds_change_nothing(rng):
    """Truth: the normals', with bounds some hundred deviations away; 1e-12."""
    wide, normal = ClippedGaussian(th.full((3,), -1e3), th.full((3,), 1e3)), DiagonalGaussian()
    old, new = draw(rng, 40), draw(rng, 40)
    th.testing.assert_close(wide.kl_divergence(old, new), normal.kl_divergence(old, new), rtol=1e-12, atol=1e-12)
    th.testing.assert_close(wide.fisher(old)(new), normal.fisher(old)(new), rtol=1e-12, atol=1e-12)


def test_gradient_is_the_same_with_less_variance():
    """Truth: E[∇ log π(a) f(clip(a))] is that of the normals, 3 standard errors; each variance is smaller (CAPG, theorem)."""
    n, space = 200_000, spaces.Box(np.float32([-1.0, -0.2]), np.float32([1.0, 3.0]))
    low, high = th.as_tensor(space.low), th.as_tensor(space.high)
    outputs = th.tensor([[0.8, -0.5, 0.2, 0.1]]).double()
    th.manual_seed(0)
    draws = outputs[:, :2] + outputs[:, 2:].exp() * th.randn(n, 2)
    worth = (draws.clamp(low, high) ** 2).sum(dim=1)

    def gradients(kind):
        each = outputs.repeat(n, 1).requires_grad_()
        log_prob = kind.proba_distribution(*each.chunk(2, dim=1)).log_prob(draws)
        return th.autograd.grad((log_prob * worth).sum(), each)[0]

    plain, other = gradients(DiagGaussianDistribution(2)), gradients(ClippedGaussianDistribution(space))
    difference = plain - other
    assert (difference.mean(dim=0).abs() < 3.0 * difference.std(dim=0) / n**0.5).all()
    assert (other.std(dim=0) < plain.std(dim=0)).all()
