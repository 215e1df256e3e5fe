"""Changes of TRPO that the screening tries, against quadrature, least squares and TRPO's own returns."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from scipy.integrate import quad
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from benchmarks.learning.beta_actions import BetaDistribution
from benchmarks.learning.changes import with_a_gauss_newton_critic
from benchmarks.learning.replayed_rollouts import ROLLOUTS, ReplayedRollouts, corrected_returns
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


def test_corrected_returns_of_the_same_policy_are_td_lambda_returns():
    """Truth: what TRPO's own estimator gives for the same steps, to 1e-5, an episode's end among them."""
    model = TRPO("MlpPolicy", ToyEnv(), n_steps=64, device="cpu", seed=0)
    model.learn(64)
    buffer = model.rollout_buffer
    going_on = 1.0 - np.concatenate([buffer.episode_starts[1:], model._last_episode_starts[None]])
    assert 0.0 < going_on.mean() < 1.0
    TRPO._estimate_advantages(model, buffer)
    with th.no_grad():
        last = model.policy.predict_values(th.as_tensor(model._last_obs)).numpy().T
    values = np.concatenate([buffer.values, last])
    returns = corrected_returns(buffer.rewards, values, going_on, np.ones_like(going_on), buffer.gamma, buffer.gae_lambda)
    np.testing.assert_allclose(returns, buffer.returns, atol=1e-5)


def test_corrected_returns_are_those_of_a_policy_between_the_two():
    """Two actions with rewards 1 and 0, then the end: drawn evenly, corrected for a policy that takes the first with 0.2.

    Truth: with ratios below 1 truncated at 1, E[ρ] = ½ · 0.4 + ½ · 1 = 0.7, and V-trace's fixed point is the value of the
    policy in proportion to min(π, π_old), 0.2 / 0.7. Tolerance: 4 standard errors.
    """
    rng, n = np.random.default_rng(0), 200_000
    first = rng.random(n) < 0.5
    ratios = np.where(first, 0.4, 1.6)
    value = 0.2 / 0.7
    returns = corrected_returns(first[None].astype(float), np.full((2, n), value), np.zeros((1, n)), ratios[None], 0.9, 0.9)
    assert abs(returns.mean() - value) < 4.0 * returns.std() / np.sqrt(n)


def test_replayed_rollouts_in_the_present_scale():
    """Truth: for the present rollout, whose ratios are 1, the returns that TRPO estimates with the same critic, to 1e-4."""
    replayed, differences = ReplayedRollouts(passes=2), []

    def estimate_advantages(model, buffer):
        replayed.estimate_advantages(model, buffer)
        observations, targets = replayed.targets(model)
        kept = len(replayed.rollouts)
        now = observations.reshape(32, kept, 2, -1)[:, -1] - th.as_tensor(buffer.observations)
        differences.append((kept, targets.reshape(32, kept, 2)[:, -1].numpy() - buffer.returns, now.numpy()))

    env = VecNormalize(DummyVecEnv([ToyEnv, ToyEnv]))
    model = type("TRPO", (TRPO,), {"_estimate_advantages": estimate_advantages})(
        "MlpPolicy", env, n_steps=32, n_critic_updates=0, batch_size=32, device="cpu", seed=0
    )
    before = [parameter.clone() for parameter in model.policy.value_net.parameters()]
    model.learn(64)
    env.training = False
    model.learn(64 * ROLLOUTS, reset_num_timesteps=False)
    assert [kept for kept, *_ in differences] == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    for _, of_returns, of_observations in differences[1:]:
        np.testing.assert_allclose(of_returns, 0.0, atol=1e-4)
        np.testing.assert_allclose(of_observations, 0.0, atol=1e-5)
    assert not any(th.equal(old, new) for old, new in zip(before, model.policy.value_net.parameters(), strict=True))
