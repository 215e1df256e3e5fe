"""A policy whose actions count as what they are clipped to."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import TRPO as ContribTRPO
from scipy.integrate import quad
from stable_baselines3.common.distributions import DiagGaussianDistribution

from sb3_trpo import TRPO, RecurrentTRPO
from sb3_trpo.policy.clipped import ClippedGaussianDistribution
from sb3_trpo.trust_region import Status
from tests.toys import ToyEnv, parameters, same

SPACE = spaces.Box(np.array([-1.0, -0.2], dtype=np.float32), np.array([1.0, 3.0], dtype=np.float32))
SETTINGS = {"n_steps": 256, "device": "cpu", "seed": 0}


def clipped(mean, log_std, rows=1):
    """The distribution in some equal states."""
    mean, log_std = (th.tensor([values]).double().expand(rows, -1) for values in (mean, log_std))
    return ClippedGaussianDistribution(SPACE).proba_distribution(mean, log_std)


def test_probabilities_add_up_to_one():
    """Truth: the probabilities of both bounds and the integral of the density between them, for each component; 1e-9."""
    mean, log_std = [0.4, -1.0], [0.3, -0.2]
    for i in range(2):
        other = 0.5  # within the other's bounds

        def probability(value, i=i, other=other):
            action = th.full((1, 2), other).double()
            reference = clipped(mean, log_std).distribution.log_prob(action)[0, 1 - i]
            action[0, i] = value
            return float((clipped(mean, log_std).log_prob(action)[0] - reference).exp())

        low, high = float(SPACE.low[i]), float(SPACE.high[i])
        between = quad(probability, low + 1e-9, high - 1e-9, epsabs=1e-12)[0]
        assert probability(low) + between + probability(high) == pytest.approx(1.0, abs=1e-7)
        assert probability(low) == probability(low - 2.0) and probability(high) == probability(high + 2.0)


def test_gradient_is_the_same_with_less_variance():
    """Truth: E[∇ log π(a) f(clip(a))] is that of the normals, 3 standard errors; each variance is smaller (CAPG, theorem)."""
    n = 200_000
    mean, log_std = [0.8, -0.5], [0.2, 0.1]
    th.manual_seed(0)
    draws = clipped(mean, log_std, rows=n).sample()
    worth = (draws.clamp(th.as_tensor(SPACE.low), th.as_tensor(SPACE.high)) ** 2).sum(dim=1)

    def gradients(kind):
        each = th.tensor([mean + log_std]).double().repeat(n, 1).requires_grad_()
        log_prob = kind.proba_distribution(*each.chunk(2, dim=1)).log_prob(draws)
        return th.autograd.grad((log_prob * worth).sum(), each)[0]

    plain, other = gradients(DiagGaussianDistribution(2)), gradients(ClippedGaussianDistribution(SPACE))
    difference = plain - other
    assert (difference.mean(dim=0).abs() < 3.0 * difference.std(dim=0) / n**0.5).all()
    assert (other.std(dim=0) < plain.std(dim=0)).all()


def test_actions_are_drawn_as_without_it():
    """Only what is learned from a rollout differs, not the rollout: the first one is equal to the last bit."""
    models = [TRPO("MlpPolicy", ToyEnv(SPACE), clipped_actions=flag, **SETTINGS).learn(256) for flag in (False, True)]
    buffers = [model.rollout_buffer for model in models]
    assert np.array_equal(buffers[0].actions, buffers[1].actions)
    assert not np.allclose(buffers[0].log_probs, buffers[1].log_probs)
    assert not same(parameters(models[0]), parameters(models[1]))


@pytest.mark.parametrize("sampling", ["single_path", "vine"])
def test_every_update_keeps_the_bound_of_clipped_actions(sampling):
    """The mean over states of the clipped actions' divergence is at most target_kl, and it is the one that is logged."""
    model = TRPO("MlpPolicy", ToyEnv(SPACE), sampling=sampling, clipped_actions=True, target_kl=0.05, **SETTINGS)
    for update in range(1, 6):
        model.learn(256, reset_num_timesteps=update == 1)
        assert model.last_update["train/status"] is Status.OK
        assert 0.0 < model.last_update["train/kl_divergence_loss"] <= 0.05


def test_memory():
    model = RecurrentTRPO("MlpLstmPolicy", ToyEnv(SPACE), clipped_actions=True, **SETTINGS).learn(512)
    assert isinstance(model.policy.action_dist, ClippedGaussianDistribution)
    assert model.last_update["train/status"] is Status.OK


def test_files(tmp_path):
    """A saved model learns on as it would have; sb3-contrib's TRPO reads it, and acts alike."""
    env = ToyEnv(SPACE)
    model = TRPO("MlpPolicy", env, clipped_actions=True, **SETTINGS).learn(256)
    model.save(tmp_path / "model")
    loaded = TRPO.load(tmp_path / "model", ToyEnv(SPACE))
    assert isinstance(loaded.policy.action_dist, ClippedGaussianDistribution)
    obs = np.stack([env.observation_space.sample() for _ in range(10)])
    for other in (loaded, ContribTRPO.load(tmp_path / "model")):
        assert np.array_equal(model.predict(obs, deterministic=True)[0], other.predict(obs, deterministic=True)[0])
    without = TRPO.load(tmp_path / "model", clipped_actions=False)
    assert type(without.policy.action_dist) is DiagGaussianDistribution
    for each in (model, loaded):
        each.set_env(ToyEnv(SPACE))
        each.set_random_seed(0)
        each.learn(256)
    assert same(parameters(model), parameters(loaded))


@pytest.mark.parametrize(("space", "options"), [(SPACE, {"use_sde": True}), (spaces.Discrete(3), {})])
def test_other_distributions_are_refused(space, options):
    with pytest.raises(ValueError, match="clipped_actions=True needs"):
        TRPO("MlpPolicy", ToyEnv(space), clipped_actions=True, **options)


def test_a_later_change_is_refused():
    model = TRPO("MlpPolicy", ToyEnv(SPACE), **SETTINGS)
    model.clipped_actions = True
    with pytest.raises(ValueError, match="clipped_actions=True has no effect"):
        model.learn(256)
