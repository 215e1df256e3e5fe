"""Action distributions that are not Stable-Baselines3's own."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn
from torch.distributions import Bernoulli, Beta, Categorical, Independent, MultivariateNormal, Normal, kl_divergence

from sb3_trpo import TRPO
from sb3_trpo.policy.distributions import action_distribution
from tests.toys import ToyEnv, parameters, same

UNIT = spaces.Box(0.0, 1.0, (3,))


class Own(Distribution):
    """Made of a distribution of PyTorch's.

    :param make: gives it from two tensors ``[B, d]`` of positive numbers
    """

    def __init__(self, make: Any):
        super().__init__()
        self.make = make

    def proba_distribution_net(self, *args: Any, **kwargs: Any) -> nn.Module:
        raise NotImplementedError

    def proba_distribution(self, outputs: th.Tensor) -> "Own":  # type: ignore[override]
        self.distribution = self.make(*nn.functional.softplus(outputs).add(0.5).chunk(2, dim=1))
        return self

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        return self.distribution.log_prob(actions.clamp(1e-6, 1.0 - 1e-6))

    def entropy(self) -> th.Tensor:
        return self.distribution.entropy()

    def sample(self) -> th.Tensor:
        return self.distribution.sample()

    def mode(self) -> th.Tensor:
        return self.distribution.mean

    def actions_from_params(self, *args: Any, **kwargs: Any) -> th.Tensor:
        raise NotImplementedError

    def log_prob_from_params(self, *args: Any, **kwargs: Any) -> tuple[th.Tensor, th.Tensor]:
        raise NotImplementedError


class OwnPolicy(ActorCriticPolicy):
    make: Any = None

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        del self.log_std
        self.action_dist = Own(self.make)  # type: ignore[assignment]
        self.action_net = nn.Linear(self.mlp_extractor.latent_dim_pi, 2 * self.action_space.shape[0])  # type: ignore[index]
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Distribution:
        return self.action_dist.proba_distribution(self.action_net(latent_pi))


class BetaPolicy(OwnPolicy):
    make = staticmethod(lambda a, b: Independent(Beta(a, b), 1))


class OwnNormal(Normal):
    pass


class NormalPolicy(OwnPolicy):
    make = staticmethod(lambda mean, deviation: Independent(OwnNormal(mean, deviation), 1))


class Correlated(OwnPolicy):
    make = staticmethod(lambda mean, deviation: MultivariateNormal(mean, scale_tril=th.diag_embed(deviation)))


class TruncatedNormal(Normal):
    """A normal's part that is in [0, 1]."""

    def log_prob(self, value: th.Tensor) -> th.Tensor:
        return super().log_prob(value) - (self.cdf(th.ones(1)) - self.cdf(th.zeros(1))).log()


class Truncated(OwnPolicy):
    make = staticmethod(lambda mean, deviation: Independent(TruncatedNormal(mean, deviation), 1))


SHAPES: dict[str, Any] = {
    "normal": lambda x: Normal(x[:, 0], x[:, 1]),
    "normals in rows": lambda x: Independent(Normal(x[:, :6].reshape(-1, 2, 3), x[:, 6:].reshape(-1, 2, 3)), 2),
    "categoricals in rows": lambda x: Independent(Categorical(logits=x.reshape(-1, 4, 3)), 1),
    "coins in rows": lambda x: Independent(Bernoulli(logits=x.reshape(-1, 4, 3)), 2),
    "betas in rows": lambda x: Independent(Beta(x[:, :6].reshape(-1, 2, 3), x[:, 6:].reshape(-1, 2, 3)), 2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_components_may_have_any_dimensions(name: str) -> None:
    """Truth: PyTorch's own KL, 1e-9."""
    pair = [
        SHAPES[name](th.rand(5, 12, dtype=th.float64, generator=th.Generator().manual_seed(seed)) + 0.5) for seed in (0, 1)
    ]
    example = SimpleNamespace(distribution=pair[0])
    kind = action_distribution(example)
    found = kind.family.kl_divergence(*(kind.parameters(SimpleNamespace(distribution=each)) for each in pair))
    th.testing.assert_close(found, kl_divergence(*pair), rtol=1e-9, atol=1e-9)


def _model(policy: type) -> TRPO:
    return TRPO(policy, ToyEnv(UNIT), n_steps=256, seed=0, device="cpu")


@pytest.mark.parametrize("policy", [BetaPolicy, NormalPolicy])
def test_a_distribution_of_ones_own_is_bounded_as_any_other(policy):
    """Truth: PyTorch's own KL between the policy before and after, 1e-3; a full step uses more than half of the bound."""
    model = _model(policy)
    before = deepcopy(model.policy)
    model.learn(256)
    observations = th.as_tensor(model.rollout_buffer.observations).flatten(0, 1)
    with th.no_grad():
        old, new = (policy.get_distribution(observations).distribution for policy in (before, model.policy))
        expected = float(kl_divergence(old, new).mean())
    logged = model.logger.name_to_value
    assert model.last_update["train/status"] == "ok"
    assert 0.5 * model.target_kl < logged["train/kl_divergence_loss"] <= model.target_kl
    np.testing.assert_allclose(logged["train/kl_divergence_loss"], expected, rtol=1e-3)


@pytest.mark.parametrize(("policy", "name"), [(Correlated, "MultivariateNormal"), (Truncated, "TruncatedNormal")])
def test_a_distribution_without_a_known_fisher_matrix_is_refused_by_name(policy, name):
    model = _model(policy)
    before = parameters(model)
    with pytest.raises(TypeError, match=rf"Own, which is made of PyTorch's {name}\. Use a policy whose"):
        model.learn(256)
    assert same(before, parameters(model))
