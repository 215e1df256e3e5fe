"""The methods that the benchmark of the paper's Figure 4 compares TRPO with, against dense algebra and closed forms."""

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from scipy.optimize import minimize

from benchmarks.figure4.evolution import CrossEntropy, Network, covariance_adaptation, search
from benchmarks.figure4.max_kl import fisher_matrices, largest_step, max_kl
from benchmarks.figure4.reps import RelativeEntropySearch, weights
from benchmarks.figure4.updates import (
    DELTA,
    NaturalGradient,
    PolicySearch,
    VanillaGradient,
    empirical_fisher,
    empirical_fisher_matrix,
)
from sb3_trpo.policy import Actor
from sb3_trpo.sampling import Batch, ImportanceSampled, Samples
from sb3_trpo.update import PolicyObjective
from tests.toys import ToyEnv


@pytest.fixture
def objective():
    """Of a rollout of a linear policy of 18 parameters."""
    update = VanillaGradient(0.0)
    model = PolicySearch(
        "MlpPolicy",
        ToyEnv(),
        update=update,
        n_steps=64,
        batch_size=64,
        policy_kwargs={"net_arch": []},
        seed=0,
        advantage_estimator="monte_carlo",
    )
    model.learn(64)
    batch = Batch.from_samples(Samples.from_buffer(model.rollout_buffer), 1, True)
    return PolicyObjective(Actor(model.policy, batch.observations), batch, ImportanceSampled(batch), 0.0)


def log_prob_of(objective, row: int, theta: th.Tensor) -> th.Tensor:
    """log π_θ(a|s) of a linear Gaussian policy, written out: θ is log σ, weights and biases in the policy's order."""
    observation, action = objective.batch.observations[row], objective.batch.actions[row]
    named = dict(zip(names(objective), theta.split([p.numel() for p in objective.actor.parameters]), strict=True))
    mean = named["action_net.weight"].reshape(3, 4) @ observation + named["action_net.bias"]
    return th.distributions.Normal(mean, named["log_std"].exp()).log_prob(action).sum()


def names(objective) -> list[str]:
    found = {id(parameter): name for name, parameter in objective.actor.policy.named_parameters()}
    return [found[id(parameter)] for parameter in objective.actor.parameters]


def test_gradient_steps(objective):
    theta, gradient = objective.actor.theta, objective.gradient
    assert th.equal(VanillaGradient(0.5)(objective), theta + 0.5 * gradient)
    fisher = th.stack([objective.fisher(0.1).product(direction) for direction in th.eye(len(theta))])
    exact = th.linalg.solve(fisher, gradient)
    assert th.allclose(NaturalGradient(0.5)(objective), theta + 0.5 * exact, atol=1e-4)


def test_empirical_fisher_is_the_mean_outer_product_of_scores(objective):
    theta = objective.actor.theta
    scores = th.stack(
        [th.autograd.functional.jacobian(lambda t, row=row: log_prob_of(objective, row, t), theta) for row in range(64)]
    )
    dense = scores.T @ scores / 64 + 0.1 * th.eye(len(theta))
    matrix = empirical_fisher_matrix(objective, 0.1)
    assert th.allclose(th.stack([matrix.product(direction) for direction in th.eye(len(theta))]), dense, atol=1e-4)
    assert objective.evaluate(empirical_fisher(objective)).kl.mean() <= DELTA


def test_max_kl_step_is_the_constrained_optimum():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(50, 4, 2))
    matrices, gradient = factors @ factors.transpose(0, 2, 1), rng.normal(size=4)
    x = largest_step(gradient, matrices, 0.01, 1e-3)
    assert 0.5 * np.einsum("i,bij,j->b", x, matrices, x).max() <= 0.0101 * 1.001
    every = {"type": "ineq", "fun": lambda y: 1.0 - 50.0 * np.einsum("i,bij,j->b", y, matrices, y)}
    best = minimize(lambda y: -gradient @ y, np.zeros(4), constraints=every, method="SLSQP")
    assert gradient @ x == pytest.approx(-best.fun, rel=0.01)


def test_max_kl_bounds_every_state(objective):
    matrices = fisher_matrices(objective)
    product = th.as_tensor(matrices.mean(axis=0), dtype=th.float32) @ objective.gradient
    assert th.allclose(product, objective.fisher(0.0).product(objective.gradient), atol=1e-4)
    found = objective.evaluate(max_kl(objective))
    assert 0.5 * DELTA < found.kl.max() <= DELTA
    assert found.surrogate > objective.start.surrogate


def test_reps_weights_solve_their_constrained_problem():
    rng = np.random.default_rng(0)
    returns, features = rng.normal(size=200), rng.normal(size=(200, 2))
    p = weights(returns + 3.0 * features[:, 0], features, 0.3)
    assert np.sum(p * np.log(200 * p)) == pytest.approx(0.3, abs=1e-3)  # the KL constraint binds
    assert p @ features == pytest.approx(features.mean(axis=0), abs=1e-3)  # states are not chosen
    # Optimal: log p is linear in returns and features
    design = np.column_stack([np.ones(200), returns, features])
    residual = np.linalg.lstsq(design, np.log(p), rcond=None)[1]
    assert residual == pytest.approx(0.0, abs=1e-8)


def test_reps_makes_the_heavy_samples_likelier(objective):
    before = objective.actor.theta
    features = (objective.batch.observations - objective.batch.observations.mean(dim=0)).double().numpy()
    p = th.as_tensor(weights(objective.batch.advantages.double().numpy(), features, 0.3))
    after = RelativeEntropySearch(0.3)(objective)
    assert th.equal(objective.actor.theta, before)  # the caller assigns

    def likelihood(theta: th.Tensor) -> float:
        with objective.actor.at(theta), th.no_grad():
            return float(
                (
                    p * objective.actor.policy.get_distribution(objective.batch.observations).log_prob(objective.batch.actions)
                ).sum()
            )

    assert likelihood(after) > likelihood(before) + 0.1


class Quadratic(gym.Env):
    """One step; the reward is minus the squared distance of the action from a fixed point."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Box(-5.0, 5.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([1.0, -1.0], dtype=np.float32), {}

    def step(self, action):
        return np.zeros(2, dtype=np.float32), -float(np.square(action - np.array([1.0, -2.0])).sum()), True, False, {}


@pytest.mark.parametrize("strategy", [CrossEntropy, covariance_adaptation])
def test_evolution_finds_the_optimum(strategy):
    network = Network((2, 3, 2))
    generations = search(strategy(network.size, np.random.default_rng(0)), Quadratic(), network)
    for _, (returns, steps) in zip(range(100), generations, strict=False):
        assert steps == len(returns)
    assert np.mean(returns) > -0.05


def test_network_is_torch_s():
    network, rng = Network((4, 5, 2)), np.random.default_rng(0)
    theta, observation = rng.normal(size=network.size), rng.normal(size=4)
    torch_network = th.nn.Sequential(th.nn.Linear(4, 5), th.nn.Tanh(), th.nn.Linear(5, 2)).double()
    first, first_bias, second, second_bias = network.layers(theta)
    tensors = (first.T, first_bias, second.T, second_bias)
    for parameter, value in zip(torch_network.parameters(), tensors, strict=True):
        parameter.data = th.as_tensor(value)
    expected = torch_network(th.as_tensor(observation)).detach().numpy()
    assert network.act(network.layers(theta), observation) == pytest.approx(expected, abs=1e-12)
