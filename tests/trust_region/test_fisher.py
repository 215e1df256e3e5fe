"""Fisher-vector products F v = (1/B) Σ_s J_sᵀ M_s J_s v, against second derivatives: F = ∇² mean KL(θ₀ ‖ θ) at θ₀."""

import copy
from functools import partial

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy, MultiInputActorCriticPolicy
from torch import nn
from torch.autograd.functional import hessian

from sb3_trpo.atari import PaperCnnPolicy
from sb3_trpo.policy import Actor
from sb3_trpo.policy.chain import ChainLinearization
from sb3_trpo.sampling import Batch, ImportanceSampled
from sb3_trpo.trust_region import (
    AutogradLinearization,
    DiagonalGaussian,
    FisherMatrix,
    flatten,
    unflatten,
)
from sb3_trpo.update import PolicyObjective

DAMPING = 0.1


class Network(nn.Module):
    """A small float64 MLP from fixed states to φ; a Gaussian's log σ is a parameter of its own, the same in every state."""

    def __init__(self, case):
        super().__init__()
        gaussian = isinstance(case.family, DiagonalGaussian)
        outputs = case.width // 2 if gaussian else case.width
        self.mlp = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs))
        self.log_std = nn.Parameter(0.5 * th.randn(outputs)) if gaussian else None
        self.states = th.randn(7, 3, dtype=th.float64)
        self.double()

    def forward(self, rows=slice(None)):
        outputs = self.mlp(self.states[rows])
        return outputs if self.log_std is None else th.cat([outputs, self.log_std.expand_as(outputs)], dim=1)

    def linearize(self, written_out, rows=slice(None)):
        """J at the network's own θ, by autograd or by hand."""
        theta = list(self.parameters())
        if written_out:
            return ChainLinearization(list(self.mlp), self.states[rows], self.log_std, theta)
        return AutogradLinearization(self(rows), theta)

    def at(self, theta):
        """φ at a flat θ."""
        names, own = zip(*self.named_parameters(), strict=True)
        return th.func.functional_call(self, dict(zip(names, unflatten(theta, own), strict=True)), ())


@pytest.fixture
def network(case):
    th.manual_seed(0)
    return Network(case)


@pytest.fixture(params=[False, True], ids=["autograd", "written out"])
def written_out(request):
    return request.param


@pytest.mark.parametrize("chunks", [[slice(7)], [slice(3), slice(3, 7)]], ids=["at once", "in chunks"])
def test_product_is_that_of_the_dense_matrix(case, network, chunks, written_out):
    """Truth: the dense Hessian of torch's mean joint KL(θ₀ ‖ θ) at θ₀, plus λI; float64, 1e-10."""
    phi, theta = network().detach(), list(network.parameters())
    linearizations = [partial(network.linearize, written_out, rows) for rows in chunks]
    matrix = FisherMatrix(linearizations, case.family, DAMPING)
    fisher = hessian(lambda new: case.kl_divergence(phi, network.at(new)).mean(), flatten(theta).detach())
    unit_vectors = th.eye(len(fisher), dtype=th.float64)
    columns = th.stack([matrix.product(unit) for unit in unit_vectors], dim=1)
    th.testing.assert_close(columns, fisher + DAMPING * unit_vectors, rtol=0, atol=1e-10)
    vector = th.randn(len(fisher), dtype=th.float64)
    assert matrix.quadratic_form(vector) == pytest.approx(float(vector @ columns @ vector), rel=1e-12)


def test_product_is_symmetric_and_linear(case, network, written_out):
    """Truth: uᵀ(Fv) = vᵀ(Fu) and F(2u − 3v) = 2 Fu − 3 Fv, the same function called again and again; float64, 1e-12."""
    theta = list(network.parameters())
    product = FisherMatrix([partial(network.linearize, written_out)], case.family, damping=0.0).product
    u, v = th.randn(2, len(flatten(theta)), dtype=th.float64)
    assert product(u).norm() > 0.1
    th.testing.assert_close(u @ product(v), v @ product(u), rtol=1e-12, atol=1e-12)
    th.testing.assert_close(product(2 * u - 3 * v), 2 * product(u) - 3 * product(v), rtol=1e-12, atol=1e-12)


class TwicePolicy(ActorCriticPolicy):
    """A hidden layer that is passed through twice."""

    def _build_mlp_extractor(self):
        super()._build_mlp_extractor()
        self.mlp_extractor.policy_net.extend(2 * [nn.Linear(16, 16), nn.Tanh()])


BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
DICT = spaces.Dict({"joints": BOX, "mode": spaces.Discrete(4)})
PICTURES = spaces.Box(0, 255, (2, 36, 37), np.uint8)
SQUASHED = {"use_sde": True, "squash_output": True}
POLICIES = {
    "Box": (ActorCriticPolicy, BOX, BOX, {}),
    "gSDE": (ActorCriticPolicy, BOX, BOX, {"use_sde": True}),
    "squashed gSDE": (ActorCriticPolicy, BOX, BOX, SQUASHED),
    "Discrete": (ActorCriticPolicy, BOX, spaces.Discrete(5), {}),
    "MultiDiscrete": (ActorCriticPolicy, BOX, spaces.MultiDiscrete([3, 2, 4]), {}),
    "MultiBinary": (ActorCriticPolicy, BOX, spaces.MultiBinary(4), {}),
    "NatureCNN": (ActorCriticCnnPolicy, PICTURES, spaces.Discrete(5), {}),
    "NatureCNN to Box": (ActorCriticCnnPolicy, PICTURES, BOX, {}),
    "PaperCnn": (PaperCnnPolicy, PICTURES, spaces.MultiDiscrete([3, 3, 2]), {}),
    "Dict to Box": (MultiInputActorCriticPolicy, DICT, BOX, {}),
    "Dict to Discrete": (MultiInputActorCriticPolicy, DICT, spaces.Discrete(5), {}),
    "a layer twice": (TwicePolicy, BOX, BOX, {}),
}


@pytest.fixture(params=list(POLICIES))
def policy(request):
    """One of SB3's own policies, away from its initialisation, where log σ is 0 and a mean hardly depends on the state."""
    th.manual_seed(0)
    kind, observation_space, action_space, options = POLICIES[request.param]
    policy = kind(observation_space, action_space, lambda _: 1e-3, net_arch=[16], **options)
    with th.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.5 * th.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return policy.eval()


@pytest.fixture(params=[32, 10], ids=["at once", "in chunks"])
def objective(policy, request, monkeypatch):
    """The objective of 32 random observations, actions and advantages, with an entropy bonus."""
    states = batch_space(policy.observation_space, 32)
    states.seed(0)
    observations, _ = policy.obs_to_tensor(states.sample())
    with th.no_grad():
        actions, _, log_prob = policy(observations)
    actor, advantages = Actor(policy, observations), th.randn(32)
    monkeypatch.setattr("sb3_trpo.policy.actor.CHUNK_ACTIVATIONS", request.param * actor.activations)
    batch = Batch(observations, actions, log_prob, advantages, advantages)
    return PolicyObjective(actor, batch, ImportanceSampled(batch), ent_coef=0.1)


def joint_kl(policy, observations):
    """SB3's mean KL(θ₀ ‖ θ) of the joint distribution at θ = θ₀, with its graph."""
    with th.no_grad():
        old = copy.copy(policy.get_distribution(observations))  # get_distribution hands out one object again and again
    return sb3.kl_divergence(old, policy.get_distribution(observations)).reshape(32, -1).sum(dim=1).mean()


def test_theta_is_all_the_kl_depends_on(policy, objective):
    """Truth: the parameters a gradient of SB3's KL reaches; log σ is among them, the critic is not."""
    kl, candidates = joint_kl(policy, objective.batch.observations), list(policy.parameters())
    reached = th.autograd.grad(kl, candidates, allow_unused=True)
    names = {name for (name, _), gradient in zip(policy.named_parameters(), reached, strict=True) if gradient is not None}
    theta = {id(parameter) for parameter in objective.actor.parameters}
    assert {name for name, parameter in policy.named_parameters() if id(parameter) in theta} == names
    assert len(names) < len(candidates)


def test_product_on_the_policies_of_sb3(policy, objective):
    """Truth: Pearlmutter's double backpropagation of SB3's KL, summed over action dimensions, old detached; float32, 1e-5."""
    theta = objective.actor.parameters
    gradient = flatten(th.autograd.grad(joint_kl(policy, objective.batch.observations), theta, create_graph=True))
    vector = th.randn(len(gradient), generator=th.Generator().manual_seed(1))
    truth = flatten(th.autograd.grad(gradient @ vector, theta)) + DAMPING * vector
    error = (objective.fisher(DAMPING).product(vector) - truth).norm() / truth.norm()
    assert error < 1e-5


def test_gradient_on_the_policies_of_sb3(policy, objective):
    """Truth: autograd of the surrogate with its entropy bonus, from SB3's evaluate_actions; float32, 1e-5."""
    batch = objective.batch
    _, log_prob, entropy = policy.evaluate_actions(batch.observations, batch.actions)
    ratio = th.exp(log_prob - batch.old_log_prob)
    entropy = -ratio * log_prob if entropy is None else entropy  # squashed: no closed form
    surrogate = (ratio * batch.advantages).mean() + 0.1 * entropy.mean()
    truth = flatten(th.autograd.grad(surrogate, objective.actor.parameters))
    assert (objective.gradient - truth).norm() / truth.norm() < 1e-5
    assert objective.start.surrogate == pytest.approx(surrogate.item(), rel=1e-4)
