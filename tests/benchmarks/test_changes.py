"""Changes of TRPO that the screening tries: Beta actions against quadrature, the Gauss–Newton critic against least squares."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.integrate import quad

from benchmarks.learning.beta_actions import BetaDistribution
from benchmarks.learning.changes import with_a_gauss_newton_critic
from sb3_trpo import TRPO
from sb3_trpo.policy import values_of
from tests.toys import ToyEnv

SPACE = spaces.Box(np.float32([-2.0]), np.float32([1.0]))


@pytest.mark.parametrize(("output", "log_std"), [(0.0, 0.0), (1.5, -1.0)])
def test_beta_actions_fill_the_box(output, log_std):
    """Truth: the density's integral over the box is 1, to 1e-5; draws stay inside; at the mode it is largest."""
    distribution = BetaDistribution(SPACE).proba_distribution(th.tensor([[output]]), th.tensor([[log_std]]))

    def density(action):
        return float(distribution.log_prob(th.tensor([[action]])).exp())

    assert quad(density, -2.0, 1.0, epsabs=1e-6)[0] == pytest.approx(1.0, abs=1e-5)
    mode = float(distribution.mode())
    assert density(mode) >= max(density(mode - 0.05), density(mode + 0.05))
    assert mode == pytest.approx(-2.0 + 3.0 / (1.0 + np.exp(-2.0 * output)), abs=1e-5)
    wide = BetaDistribution(SPACE).proba_distribution(th.full((1000, 1), output), th.full((1000, 1), log_std))
    assert SPACE.low[0] <= wide.sample().min() < wide.sample().max() <= SPACE.high[0]


def test_gauss_newton_critic_finds_the_least_squares():
    """A critic linear in its parameters: its squared error ends at most 2 % above that of least squares."""
    methods = {"_find_step": with_a_gauss_newton_critic}
    linear = {"net_arch": {"pi": [8], "vf": []}}
    model = type("TRPO", (TRPO,), methods)(
        "MlpPolicy", ToyEnv(), n_steps=512, n_critic_updates=0, policy_kwargs=linear, device="cpu", seed=0
    )
    model.learn(512)
    samples = model._read_samples()
    with th.no_grad():
        found = float(((samples.returns - values_of(model.policy, samples.observations).flatten()) ** 2).mean())
    before = float(((samples.returns - th.as_tensor(model.rollout_buffer.values).flatten()) ** 2).mean())
    columns = th.cat([samples.observations, th.ones(len(samples), 1)], dim=1)
    best = th.linalg.lstsq(columns, samples.returns[:, None]).solution
    least = float(((samples.returns[:, None] - columns @ best) ** 2).mean())
    assert least <= found < 1.02 * least < before
