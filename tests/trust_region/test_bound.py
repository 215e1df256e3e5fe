"""Theorem 1, η(θ) − η(θ₀) ≥ [L(θ) − L(θ₀)]/(1−γ) − C max KL with C = 4εγ/(1−γ)², against numbers worked out by hand."""

import math

import pytest
import torch as th

from sb3_trpo.trust_region import improvement_bound


def test_terms():
    """Truth by hand, three states, γ = ½, float64, 1e-12.

    ε = max |(1, −2, 4)| = 4          C = 4 · 4 · ½ / (½)² = 32
    gain = mean(1 · 1, −½ · −2, 0 · 4) / ½ = ⅔ · 2 = 4/3          lower = 4/3 − 32 · ¼ = −20/3
    """
    ratio, advantages = th.tensor([2.0, 0.5, 1.0], dtype=th.float64), th.tensor([1.0, -2.0, 4.0], dtype=th.float64)
    bound = improvement_bound(ratio, advantages, kl_max=0.25, gamma=0.5)
    assert bound.epsilon == 4.0
    assert bound.penalty == pytest.approx(32.0, rel=1e-12)
    assert bound.lower == pytest.approx(-20.0 / 3.0, rel=1e-12)


def test_epsilon_counts_negative_advantages_too():
    """Truth by hand, two states, γ = 0.9: ε = |−3|, C = 4 · 3 · 0.9 / 0.01 = 1080; lower = (0.1 · −3)/2 / 0.1 = −1.5."""
    ratio, advantages = th.tensor([1.1, 1.0], dtype=th.float64), th.tensor([-3.0, 2.0], dtype=th.float64)
    bound = improvement_bound(ratio, advantages, kl_max=0.0, gamma=0.9)
    assert bound.epsilon == 3.0
    assert bound.penalty == pytest.approx(1080.0, rel=1e-12)
    assert bound.lower == pytest.approx(-1.5, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.99])
def test_no_step_no_gain(gamma):
    """Truth: at θ = θ₀ the ratios are 1 and the KL is 0, and the bound is exactly 0."""
    assert improvement_bound(th.ones(3), th.tensor([1.0, -2.0, 4.0]), kl_max=0.0, gamma=gamma).lower == 0.0


def test_without_discounting_the_future_the_gain_is_exact():
    """Truth: at γ = 0 states do not depend on the policy, so C = 0 and lower = mean[(ratio − 1) A] = (1 + 1)/2."""
    bound = improvement_bound(th.tensor([2.0, 0.5]), th.tensor([1.0, -2.0]), kl_max=0.3, gamma=0.0)
    assert (bound.penalty, bound.lower) == (0.0, 1.0)


def test_bounds_the_true_gain_of_a_two_state_chain():
    """Truth: the whole theorem by hand; γ = ½, start in state 0; float64, 1e-12.

    The action is the next state, and a step from state 0 pays 1. The old policy tosses a coin: V = (3/2, 1/2), and
    every A(s, a) is +¼ for a = 0, −¼ for a = 1. It visits state 0 with discounted weight ¾ = ½ (1 + ½ · ½ + ½ · ¼ + …).
    The new policy chooses 0 in state 0 with probability ¾ and still tosses a coin in state 1:
        V'(0) = 1 + ½ (¾ V'(0) + ¼ V'(1)),  V'(1) = ½ (½ V'(0) + ½ V'(1))   ⇒   V'(0) = 12/7, a gain of 3/14
        L gains ¾ (¾ · ¼ − ¼ · ¼) = 3/32, so (3/32)/(1−γ) = 3/16       max KL = ½ log(½/¾) + ½ log(½/¼) = ½ log(4/3)
        C = 4 · ¼ · ½ / (½)² = 2       lower = 3/16 − log(4/3) = −0.100
    Eight samples stand for the exact weights: (s, a) = three of (0, 0), three of (0, 1), (1, 0) and (1, 1).
    """
    ratio = th.tensor([1.5, 1.5, 1.5, 0.5, 0.5, 0.5, 1.0, 1.0], dtype=th.float64)
    advantages = th.tensor([0.25, 0.25, 0.25, -0.25, -0.25, -0.25, 0.25, -0.25], dtype=th.float64)
    bound = improvement_bound(ratio, advantages, kl_max=0.5 * math.log(4 / 3), gamma=0.5)
    assert bound.penalty == pytest.approx(2.0, rel=1e-12)
    assert bound.lower == pytest.approx(3 / 16 - math.log(4 / 3), rel=1e-12)
    assert bound.lower <= 3 / 14


def test_without_discounting_there_is_no_bound():
    with pytest.raises(ValueError, match=r"gamma=1.0 is outside \[0, 1\)"):
        improvement_bound(th.ones(2), th.ones(2), 0.0, 1.0)
