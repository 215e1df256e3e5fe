"""The study of better critics: what it holds still, and what its steps are."""

import numpy as np
import pytest
import torch as th
from torch.distributions import kl_divergence

from benchmarks.common import Cell
from benchmarks.common.training import Plan, settings_for, train
from benchmarks.learning import better_critic
from benchmarks.learning.better_critic import Held, advantages, fitted, steps_and_gradients
from sb3_trpo import TRPO

ROLLOUT = 2048


@pytest.fixture(scope="module")
def held() -> Held:
    """Hopper's policy after one update, and six rollouts of it."""
    found = Held()

    def hold(model: TRPO) -> None:
        found.train(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(better_critic, "STEPS", 2 * ROLLOUT)
        settings = settings_for("sb3_trpo", "Hopper-v5")
        train(Plan("sb3_trpo", "Hopper-v5", settings, 8 * ROLLOUT, 1, every=8 * ROLLOUT, methods={"train": hold}))
    return found


def test_rollouts_of_a_held_policy_are_one(held: Held) -> None:
    """Truth: SB3's own advantages of a single rollout; a joined one is longer, and its steps follow one another."""
    model = held.model
    assert model is not None and model._n_updates == 1 and len(held.parts) == 7
    joined = held.joined(0, 7)
    assert joined["observations"].shape == (7 * 1024 + 1, 2, 11) and joined["rewards"].shape == (7 * 1024, 2)
    found, returns = advantages(model, model.policy, held.joined(6, 7), model.gae_lambda)
    np.testing.assert_allclose(found, model.rollout_buffer.advantages, atol=1e-4)
    np.testing.assert_allclose(returns, model.rollout_buffer.returns, atol=1e-4)
    np.testing.assert_array_equal(joined["observations"][1024], held.parts[1]["observations"][0])


def test_a_further_fit_lowers_the_error_and_moves_the_critic_alone(held: Held) -> None:
    model, data = held.model, held.joined(0, 6)
    assert model is not None
    policy = fitted(model, data)
    errors = [float(np.mean(advantages(model, each, data, 1.0)[0] ** 2)) for each in (model.policy, policy)]
    assert errors[1] < errors[0]
    observations = th.as_tensor(data["observations"][0])
    distributions = [each.get_distribution(observations).distribution for each in (model.policy, policy)]
    assert kl_divergence(*distributions).abs().max() == 0.0


def test_steps_have_length_one(held: Held) -> None:
    """Truth: the mean KL divergence after ε s is ½ ε², to 2 %, on the very rollout that s is made of."""
    model, data = held.model, held.joined(0, 2)
    assert model is not None
    estimate = advantages(model, model.policy, data, model.gae_lambda)[0]
    steps, gradients = steps_and_gradients(model, data, [estimate])
    assert steps.shape == gradients.shape == (2, 1, steps.shape[-1])
    observations = th.as_tensor(data["observations"][1024:2048]).flatten(0, 1)
    actor = better_critic.Actor(model.policy, observations)
    start, epsilon = actor.distribution_of(observations).distribution, 0.05
    with th.no_grad(), actor.at(actor.theta + epsilon * steps[1, 0]):
        divergence = kl_divergence(start, actor.distribution_of(observations).distribution).sum(dim=1).mean()
    assert float(divergence) == pytest.approx(0.5 * epsilon**2, rel=0.02)
    assert float(gradients[1, 0] @ steps[1, 0]) > 0.0


def test_the_study_compares_critics_and_lambdas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(better_critic, "STEPS", ROLLOUT)
    monkeypatch.setattr(better_critic, "FITTED", (1, 2))
    monkeypatch.setattr(better_critic, "LAST", 3)
    found = better_critic.run(Cell("Hopper-v5", seed=1))
    assert len(found.rows) == 3
    assert list(found.rows[0]) == [
        f"{critic}, {each}" for critic in ("its own", "1", "2") for each in (0.0, 0.5, found.notes["gae_lambda"])
    ]
