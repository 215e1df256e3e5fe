"""What is read off the comparison's runs."""

import numpy as np

from benchmarks.learning.mujoco import STEPS
from benchmarks.learning.scored import bounds_of


def test_bounds_of_a_falling_trust_region():
    """Of four updates the last comes after all steps, or after a few more than all."""
    assert np.array_equal(bounds_of(0.02, 4, STEPS), [0.02] * 4)
    assert np.allclose(bounds_of("lin_0.04", 4, STEPS), [0.03, 0.02, 0.01, 0.0], rtol=1e-12, atol=1e-18)
    assert bounds_of("lin_0.04", 4, STEPS + 4)[-1] == 0.0
    assert bounds_of("lin_0.04", 0, STEPS).size == 0
