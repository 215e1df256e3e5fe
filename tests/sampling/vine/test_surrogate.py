"""The vine's estimators against a small MDP with known values, and its noise against the policy's own distribution."""

from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from sb3_trpo import TRPO
from sb3_trpo.policy import Actor, actions_from_noise, draw_noise
from sb3_trpo.ranks import ALONE
from sb3_trpo.sampling import Batch, Samples, VineBatch
from sb3_trpo.trust_region import self_normalized, sum_over_actions
from sb3_trpo.update import PolicyObjective
from tests.toys import ToyEnv

Q_VALUES = th.tensor([1.0, -0.5, 2.0, 0.3, -1.2], dtype=th.float64)
LOGITS = th.tensor([0.4, -0.3, 0.9, 0.0, -1.0], dtype=th.float64)
PROBS = LOGITS.softmax(0)
GRADIENT = PROBS * (Q_VALUES - PROBS @ Q_VALUES)  # of Σ_a π(a) Q(a) with respect to the logits


def gradients(log_proposal: th.Tensor | None, actions: th.Tensor, q_values: th.Tensor) -> th.Tensor:
    """Gradient of each state's estimate with respect to its own logits, at θ₀ ``[N, 5]``."""
    logits = LOGITS.expand(len(actions), -1).clone().requires_grad_()
    log_prob = logits.log_softmax(1).gather(1, actions)
    terms = (
        sum_over_actions(log_prob, q_values) if log_proposal is None else self_normalized(log_prob - log_proposal, q_values)
    )
    return th.autograd.grad(terms.sum(), logits)[0]


def assert_mean(samples: th.Tensor, expected: th.Tensor) -> None:
    """Within three standard errors, component by component."""
    error = samples.std(0) / len(samples) ** 0.5
    assert ((samples.mean(0) - expected).abs() < 3.0 * error + 1e-12).all()


def test_all_actions_are_unbiased():
    generator = th.Generator().manual_seed(0)
    noise = th.randn(100_000, 5, generator=generator, dtype=th.float64)
    assert_mean(gradients(None, th.arange(5).expand(100_000, -1), Q_VALUES + noise), GRADIENT)


@pytest.mark.parametrize("branches", [2, 4, 8])
def test_drawn_from_the_policy_the_gradient_is_short_by_one_in_k(branches):
    generator = th.Generator().manual_seed(1)
    actions = th.multinomial(PROBS.expand(200_000, -1), branches, replacement=True, generator=generator)
    samples = gradients(PROBS.log()[actions], actions, Q_VALUES[actions])
    assert_mean(samples, (branches - 1) / branches * GRADIENT)


def test_drawn_uniformly_the_bias_falls_as_one_in_k():
    generator = th.Generator().manual_seed(2)
    uniform, biases = th.full((5,), 0.2, dtype=th.float64), []
    for branches in (8, 16, 32):
        actions = th.multinomial(uniform.expand(1_000_000, -1), branches, replacement=True, generator=generator)
        values = self_normalized(LOGITS.log_softmax(0)[actions] - uniform.log()[actions], Q_VALUES[actions])
        biases.append(float(values.mean() - PROBS @ Q_VALUES))
    assert abs(biases[0]) > 0.02
    for few, many in pairwise(biases):
        assert few / many == pytest.approx(2.0, rel=0.15)  # standard errors are about a thirtieth of the smallest bias


def test_a_constant_in_the_values_changes_nothing():
    actions = th.arange(5).expand(1, -1)
    for proposal in (None, th.full((1, 5), 0.2, dtype=th.float64).log()):
        shifted = gradients(proposal, actions, Q_VALUES[None] + 7.0)
        assert th.allclose(shifted, gradients(proposal, actions, Q_VALUES[None]), atol=1e-12)


class Tabular(gym.Env):
    """Six states, three actions, random transitions."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = spaces.Box(0.0, 1.0, (6,)), spaces.Discrete(3)
        rng = np.random.default_rng(8)
        self.transitions, self.rewards = rng.dirichlet(np.ones(6) / 2, (6, 3)), rng.normal(size=(6, 3))

    def q_values(self, policy: np.ndarray, horizon: int, gamma: float) -> np.ndarray:
        """Q over a finite horizon, by dynamic programming ``[6, 3]``.

        :param policy: probabilities of the actions in each state ``[6, 3]``
        """
        q_values = self.rewards
        for _ in range(horizon - 1):
            q_values = self.rewards + gamma * self.transitions @ (policy * q_values).sum(1)
        return q_values

    def _observe(self) -> np.ndarray:
        return np.eye(6, dtype=np.float32)[self.state]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state = int(self.np_random.integers(6))
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(self.rewards[self.state, action])
        self.state = int(self.np_random.choice(6, p=self.transitions[self.state, action]))
        return self._observe(), reward, False, False, {}


@pytest.mark.parametrize("common", [True, False])
def test_the_values_of_branches_are_those_of_the_mdp(common):
    """Q̂ of every state and action averages to Q of the same horizon, found by dynamic programming: |z| < 3 overall."""
    horizon, gamma = 4, 0.9
    settings = {"n_states": 60, "branch_length": horizon, "bootstrap": False, "common_random_numbers": common}
    env = TimeLimit(Tabular(), 50)
    trpo = TRPO("MlpPolicy", env, n_steps=120, batch_size=60, gamma=gamma, seed=0, sampling="vine", vine_kwargs=settings)
    trpo.train = lambda: None
    inner = env.unwrapped
    with th.no_grad():
        policy = trpo.policy.get_distribution(th.eye(6)).distribution.probs.numpy()
    q_values = inner.q_values(policy, horizon, gamma)

    errors: dict[tuple[int, int], list[float]] = {}
    for _ in range(40):
        trpo.learn(1, reset_num_timesteps=False)
        vine = trpo._experience
        late = np.array([step % 50 for step, _ in vine.places]) > 50 - horizon  # where the time limit cuts in
        states = vine.observations.argmax(1).numpy()
        for state in range(6):
            rows = (states == state) & ~late
            for action in range(3):
                if rows.any():
                    mean = float(vine.q_values[th.as_tensor(rows), action].mean())
                    errors.setdefault((state, action), []).append(mean - q_values[state, action])
    # One mean an iteration, for the branches of one iteration may share the simulator's randomness
    scores = [np.mean(values) / (np.std(values, ddof=1) / len(values) ** 0.5) for values in errors.values()]
    assert len(scores) == 18
    assert np.mean(np.square(scores)) < 1.0 + 3.0 * (2.0 / 18) ** 0.5
    assert max(map(abs, scores)) < 4.0


def test_the_objectives_gradient_is_that_of_the_estimator():
    """Against autograd through all states at once, with log-probabilities by PyTorch's own distributions."""
    trpo = TRPO("MlpPolicy", ToyEnv(spaces.Discrete(4)), n_steps=64, sampling="vine", seed=0)
    trpo.train = lambda: None
    trpo.learn(1)
    vine: VineBatch = trpo._experience
    samples = Samples.from_buffer(trpo.rollout_buffer)
    trpo.policy.set_training_mode(False)
    actor = Actor(trpo.policy, samples.observations)
    batch = Batch.from_samples(samples, 1, True)
    objective = PolicyObjective(actor, batch, vine.surrogate(batch, False, ALONE), 0.0)
    probs = trpo.policy.get_distribution(vine.observations).distribution.probs
    truth = (probs * vine.q_values).sum(1).mean()
    expected = th.cat([g.flatten() for g in th.autograd.grad(truth, actor.parameters)])
    assert th.allclose(objective.gradient, expected, rtol=1e-4, atol=1e-6)
    # and by a finite difference along it
    step = 1e-3 * objective.gradient / objective.gradient.norm()
    higher, lower = (objective.evaluate(actor.theta + sign * step).surrogate for sign in (1.0, -1.0))
    assert (higher - lower) / 2e-3 == pytest.approx(float(objective.gradient.norm()), rel=1e-2)


NOISY = {
    "gaussian": (spaces.Box(-1.0, 1.0, (3,)), {}),
    "categorical": (spaces.Discrete(4), {}),
    "multi-categorical": (spaces.MultiDiscrete([2, 3]), {}),
    "bernoulli": (spaces.MultiBinary(3), {}),
    "gSDE": (spaces.Box(-1.0, 1.0, (2,)), {"use_sde": True}),
    "squashed gSDE": (spaces.Box(-1.0, 1.0, (2,)), {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
}


@pytest.mark.parametrize("kind", list(NOISY))
def test_actions_from_noise_follow_the_policy(kind):
    """Frequencies, or mean and standard deviation before squashing, within four standard errors of the distribution's."""
    space, settings = NOISY[kind]
    policy = TRPO("MlpPolicy", ToyEnv(space), seed=1, **settings).policy
    count, state = 40_000, th.full((1, 4), 0.3)
    before, global_state = parameters_of(policy), th.get_rng_state()
    with th.no_grad():
        noise = draw_noise(policy, np.random.default_rng(0), (count,))
        actions = actions_from_noise(policy, state.expand(count, -1), noise)
        distribution = policy.get_distribution(state)
    assert th.equal(global_state, th.get_rng_state()) and all(
        th.equal(a, b) for a, b in zip(before, parameters_of(policy), strict=True)
    )
    inner = distribution.distribution
    if isinstance(space, spaces.Box):
        values = distribution.bijector.inverse(actions) if settings.get("policy_kwargs") else actions
        errors = (values.mean(0) - inner.mean[0]) / (inner.stddev[0] / count**0.5)
        spread = (values.std(0) / inner.stddev[0] - 1.0) * (2 * count) ** 0.5
        assert errors.abs().max() < 4.0 and spread.abs().max() < 4.0
        return
    parts = inner if isinstance(inner, list) else [inner]
    if isinstance(space, spaces.MultiBinary):
        expected, found = [inner.probs[0]], [actions.mean(0)]
    else:
        expected = [part.probs[0] for part in parts]
        columns = actions[:, None] if actions.ndim == 1 else actions
        found = [(columns[:, i, None] == th.arange(len(p))).float().mean(0) for i, p in enumerate(expected)]
    for p, frequency in zip(expected, found, strict=True):
        assert ((frequency - p).abs() < 4.0 * (p * (1 - p) / count).sqrt()).all()


def parameters_of(policy: Any) -> list[th.Tensor]:
    return [value.clone() for value in policy.state_dict().values()]
