"""Policies that users change: whatever is not SB3's own is run as it is, not as its parts suggest."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.nn.utils import prune

from sb3_trpo import TRPO
from sb3_trpo.policy import Actor, recognition
from tests.toys import BOX_ACTIONS, ToyEnv

SMALL: dict[str, Any] = {"n_steps": 64, "batch_size": 32, "seed": 0, "device": "cpu"}


class OneDeviation(ActorCriticPolicy):
    """One log σ for all action components."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.log_std = nn.Parameter(th.full((1,), -0.5))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


def test_one_deviation_for_all_actions() -> None:
    """Action components are drawn independently (|correlation| < 0.2 of 256), and its gradient is autograd's."""
    model = TRPO(OneDeviation, ToyEnv(BOX_ACTIONS), **{**SMALL, "n_steps": 256})
    model.learn(256)
    buffer, policy = model.rollout_buffer, model.policy
    means = policy.get_distribution(th.as_tensor(buffer.observations)).mode()
    noise = buffer.actions.reshape(256, -1) - means.numpy(force=True)
    correlation = np.corrcoef(noise.T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.2

    observations = th.as_tensor(buffer.observations)
    actor = Actor(policy, observations)
    linearization, distribution = actor.linearize(observations)
    value = distribution.log_prob(th.ones(256, noise.shape[1])).mean()
    expected = th.autograd.grad(
        policy.get_distribution(observations).log_prob(th.ones(256, noise.shape[1])).mean(), actor.parameters
    )
    th.testing.assert_close(linearization.gradient(value, keep=False), th.cat([part.flatten() for part in expected]))


class BothHeads(nn.Module):
    """Computes both latent vectors whichever is asked for, the actor's from detached features; with noise, if told."""

    def __init__(self, n_inputs: int, noise: float = 0.0):
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = 16
        self.features, self.noise = nn.Linear(n_inputs, n_inputs), noise
        self.actor, self.critic = nn.Linear(n_inputs, 16), nn.Linear(n_inputs, 16)

    def forward(self, inputs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        features = self.features(inputs)
        noise = self.noise * th.randn(len(inputs), 16)
        return th.tanh(self.actor(features.detach()) + noise), th.tanh(self.critic(features))

    def forward_actor(self, inputs: th.Tensor) -> th.Tensor:
        return self.forward(inputs)[0]

    def forward_critic(self, inputs: th.Tensor) -> th.Tensor:
        return self.forward(inputs)[1]


class BothHeadsPolicy(ActorCriticPolicy):
    noise = 0.0

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = BothHeads(self.features_dim, self.noise)  # type: ignore[assignment]


class NoisyPolicy(BothHeadsPolicy):
    noise = 1.0


def test_critic_layers_that_the_actor_runs_are_trained() -> None:
    """And what the actor depends on behind a detach is not."""
    model = TRPO(BothHeadsPolicy, "CartPole-v1", **SMALL)
    net = model.policy.mlp_extractor
    before = deepcopy(net.state_dict())
    model.learn(64)
    moved = {name for name, value in net.state_dict().items() if not th.equal(value, before[name])}
    assert moved == {"actor.weight", "actor.bias", "critic.weight", "critic.bias"}


def test_a_network_that_draws_noise_is_called_at_every_step() -> None:
    """The rollout's log-probabilities are those that the actions were drawn with, exactly."""
    drawn: list[float] = []
    model = TRPO(NoisyPolicy, "CartPole-v1", **SMALL)
    model.learn(64, callback=lambda locals_, _: drawn.append(float(locals_["log_probs"])) or True)
    assert model.rollout_buffer.log_probs.flatten().tolist() == drawn


class Tripled(nn.Sequential):
    def forward(self, inputs: th.Tensor) -> th.Tensor:
        return 3.0 * super().forward(inputs)


class Tail(nn.Module):
    """Layers behind a method, as a compiled module has them."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        return self.inner(inputs)


def _changed(model: TRPO, kind: str, name: str) -> None:
    """Put another network in the place of one of SB3's."""
    extractor = model.policy.mlp_extractor
    net = getattr(extractor, name)
    if kind == "patched":
        setattr(extractor, f"forward_{'actor' if name == 'policy_net' else 'critic'}", lambda inputs: 3.0 * net(inputs))
    else:
        setattr(extractor, name, (Tripled if kind == "subclass" else Tail)(*net))
    model.policy.optimizer = th.optim.Adam(model.policy.parameters(), lr=1e-3)


@pytest.mark.parametrize("kind", ["subclass", "patched", "module"])
@pytest.mark.parametrize("name", ["policy_net", "value_net"])
def test_networks_that_are_not_what_their_parts_say(name: str, kind: str, recwarn: pytest.WarningsRecorder) -> None:
    """No disagreement between acting and optimising; the update moves what the policy really does, and V approaches R."""
    model = TRPO("MlpPolicy", "Pendulum-v1", gamma=0.0, n_critic_updates=60, **{**SMALL, "n_steps": 256})
    _changed(model, kind, name)
    model.learn(256)
    assert not [warning for warning in recwarn if "log-probabilities" in str(warning.message)]
    assert model.logger.name_to_value["train/kl_divergence_loss"] <= model.target_kl
    buffer = model.rollout_buffer
    values = model.policy.predict_values(th.as_tensor(buffer.observations)).detach().numpy().flatten()
    error, before = (np.mean((v - buffer.returns.flatten()) ** 2) for v in (values, buffer.values.flatten()))
    assert error < 0.5 * before


def test_a_critic_outside_the_optimizer() -> None:
    """It stays as it is, as under PyTorch, and the model can be saved."""
    model = TRPO("MlpPolicy", "CartPole-v1", **SMALL)
    model.policy.value_net = nn.Linear(64, 1)
    weight = model.policy.value_net.weight.detach().clone()
    model.learn(64)
    assert th.equal(model.policy.value_net.weight, weight)
    model.policy.optimizer.state_dict()


@pytest.mark.parametrize("name", ["policy_net", "value_net"])
def test_pruned_layers(name: str) -> None:
    """Pruning leaves a layer's bias before its weight."""
    model = TRPO("MlpPolicy", "CartPole-v1", **SMALL)
    layer = getattr(model.policy.mlp_extractor, name)[0]
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.remove(layer, "weight")
    model.policy.optimizer = th.optim.Adam(model.policy.parameters(), lr=1e-3)
    before = layer.weight.detach().clone()
    model.learn(64)
    assert not th.equal(layer.weight, before) and th.isfinite(layer.weight).all()


class Parts(BaseFeaturesExtractor):
    """Features that are no tensor."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space, features_dim=4)

    def forward(self, observations: th.Tensor) -> Any:
        return observations, observations**2


class PartsNetwork(nn.Module):
    latent_dim_pi = latent_dim_vf = 8

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, parts: Any) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(parts), self.forward_critic(parts)

    def forward_actor(self, parts: Any) -> th.Tensor:
        return th.tanh(self.actor(th.cat(parts, dim=1)))

    def forward_critic(self, parts: Any) -> th.Tensor:
        return th.tanh(self.critic(th.cat(parts, dim=1)))


class PartsPolicy(ActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = PartsNetwork()  # type: ignore[assignment]


def test_features_in_parts() -> None:
    model = TRPO(PartsPolicy, "CartPole-v1", policy_kwargs={"features_extractor_class": Parts}, **SMALL)
    before = model.policy.mlp_extractor.critic.weight.detach().clone()
    model.learn(64)
    assert not th.equal(model.policy.mlp_extractor.critic.weight, before)


class Double(BaseFeaturesExtractor):
    def __init__(self, observation_space: Any):
        super().__init__(observation_space, features_dim=4)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return observations.double()


class FlatValues(ActorCriticPolicy):
    """Values without a second dimension."""

    def forward(self, obs: Any, deterministic: bool = False) -> Any:
        actions, values, log_probs = super().forward(obs, deterministic)
        return actions, values.squeeze(-1), log_probs

    def predict_values(self, obs: Any) -> th.Tensor:
        return super().predict_values(obs).squeeze(-1)


def test_values_in_one_dimension() -> None:
    model = TRPO(FlatValues, make_vec_env(ToyEnv, 3), **SMALL).learn(3 * 64)
    assert model.last_update["train/status"] == model.last_update["train/critic_status"] == "ok"


class Numbers(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Dict):
        super().__init__(observation_space, features_dim=4)

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        return th.cat([observations["vector"], observations["number"].reshape(-1, 1)], dim=1)


def test_a_number_beside_a_vector() -> None:
    """A ``Box`` without dimensions in a ``Dict``."""

    class Both(ToyEnv):
        def _observe(self) -> Any:
            self.context = self.np_random.uniform(-1.0, 1.0, 4)
            return {"vector": self.context[:3].astype(np.float32), "number": np.float32(self.context[3])}

    space = spaces.Dict(vector=spaces.Box(-1.0, 1.0, (3,)), number=spaces.Box(-1.0, 1.0, ()))
    model = TRPO(
        "MultiInputPolicy",
        make_vec_env(lambda: Both(observation_space=space), 2),
        policy_kwargs={"features_extractor_class": Numbers},
        **SMALL,
    )
    assert model.learn(128).last_update["train/status"] == "ok"


class Layers(BaseFeaturesExtractor):
    """As the guide to custom policies has it."""

    def __init__(self, observation_space: Any, features_dim: int = 16):
        super().__init__(observation_space, features_dim)
        self.layers = nn.Sequential(nn.Linear(observation_space.shape[0], features_dim), nn.Tanh())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


def test_a_registered_extractor_is_differentiated_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the step is the one that autograd gives, to float32 rounding."""
    steps = []
    for registered in (False, True):
        if registered:
            monkeypatch.setitem(recognition._EXTRACTORS, Layers, ("layers",))
        model = TRPO("MlpPolicy", "Pendulum-v1", policy_kwargs={"features_extractor_class": Layers}, **SMALL)
        before = nn.utils.parameters_to_vector(model.policy.parameters()).detach()
        model.learn(64)
        steps.append(nn.utils.parameters_to_vector(model.policy.parameters()).detach() - before)
        assert (recognition.actor_chain(model.policy) is not None) == registered
    assert float((steps[0] - steps[1]).norm() / steps[0].norm()) < 1e-4


def test_a_policy_in_double_precision() -> None:
    model = TRPO("MlpPolicy", "CartPole-v1", policy_kwargs={"features_extractor_class": Double}, **SMALL)
    model.policy.double()
    before = model.policy.value_net.weight.detach().clone()
    model.learn(64)
    assert not th.equal(model.policy.value_net.weight, before)


def test_a_policy_can_be_copied_after_an_update_without_a_gradient() -> None:
    """Opponent pools copy their policies, also when no reward has been found yet."""
    model = TRPO("MlpPolicy", ToyEnv(BOX_ACTIONS), advantage_estimator="monte_carlo", ent_coef=0.0, **SMALL)
    model.learn(64, callback=lambda locals_, _: locals_["rewards"].fill(0.0) or True)
    assert model.last_update["train/status"] == "zero gradient"
    deepcopy(model.policy)


def test_an_update_wants_a_whole_rollout() -> None:
    model = TRPO("MlpPolicy", "CartPole-v1", **SMALL)
    model.learn(64)
    model.rollout_buffer.reset()
    with pytest.raises(ValueError, match="0 of its 64 steps"):
        model.train()
