"""The critic's fit gives what PyTorch's optimizer would, whichever way it is computed."""

from copy import copy, deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.critic import fit_critic, mlp_regression
from sb3_trpo.critic.choice import choose_regression
from sb3_trpo.critic.minibatches import Minibatch
from sb3_trpo.critic.mlp_regression import MlpRegression
from sb3_trpo.critic.regression import TorchRegression
from sb3_trpo.policy import Actor
from sb3_trpo.ranks import ALONE
from sb3_trpo.sampling import Samples
from tests.policy.test_actor import PRIVILEGED, Branches, Part, Privileged
from tests.toys import DICT_OBSERVATIONS, ToyEnv

SMALL: dict[str, Any] = {"n_steps": 96, "batch_size": 32, "device": "cpu", "seed": 0}


def _fit(model: TRPO, monkeypatch: pytest.MonkeyPatch | None = None) -> tuple[float, th.Tensor]:
    """Loss and parameters after a fit of three passes; by PyTorch where a monkeypatch is given."""
    samples = Samples.from_buffer(model.rollout_buffer)
    model.policy.set_training_mode(False)
    actor = Actor(model.policy, samples.observations)
    if monkeypatch is not None:
        monkeypatch.setattr(MlpRegression, "supports", staticmethod(lambda *_: False))
    th.manual_seed(7)
    fit = fit_critic(actor, samples, n_updates=3, batch_size=40)  # 40 does not divide 96: the last minibatch is smaller
    return fit.loss, nn.utils.parameters_to_vector(model.policy.parameters()).detach()


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("learned_before", [False, True])
def test_written_out_is_autograd(activation: type[nn.Module], learned_before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses to 1e-4 relative, parameters to 1e-5 and Adam's state to 1e-4 relative, from fresh and from old moments."""
    kwargs = {"net_arch": [16, 16], "activation_fn": activation}
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs=kwargs, **SMALL, n_critic_updates=2 if learned_before else 0).learn(96)
    other = deepcopy(model)
    loss, parameters = _fit(model)
    torch_loss, torch_parameters = _fit(other, monkeypatch)
    assert loss == pytest.approx(torch_loss, rel=1e-4)
    assert th.allclose(parameters, torch_parameters, atol=1e-5)
    states, torch_states = (m.policy.optimizer.state_dict()["state"] for m in (model, other))
    assert states.keys() == torch_states.keys() and len(states) == 6
    for index, state in states.items():
        assert state["step"] == torch_states[index]["step"]
        for moment in ("exp_avg", "exp_avg_sq"):
            assert th.allclose(state[moment], torch_states[index][moment], rtol=1e-4, atol=1e-7)


def test_without_the_private_function_every_bit_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of PyTorch's fused Adam; the public class gives loss, parameters and moments."""
    fast = TRPO("MlpPolicy", ToyEnv(), **SMALL, n_critic_updates=2).learn(96)
    public = deepcopy(fast)
    results = [_fit(fast)]
    assert mlp_regression._FUSED_ADAM is not None
    monkeypatch.setattr(mlp_regression, "_FUSED_ADAM", None)
    results.append(_fit(public))
    assert results[0][0] == results[1][0] and th.equal(results[0][1], results[1][1])
    states = [model.policy.optimizer.state_dict()["state"] for model in (fast, public)]
    assert all(th.equal(value, states[1][index][name]) for index in states[0] for name, value in states[0][index].items())


def test_features_computed_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared features cached before the fit give predict_values' own regression, to 1e-5."""
    model = TRPO("MultiInputPolicy", ToyEnv(spaces.Discrete(3), DICT_OBSERVATIONS), n_critic_updates=0, **SMALL).learn(96)
    other = deepcopy(model)
    own = other.policy.predict_values
    other.policy.predict_values = lambda observations: own(observations)  # no longer SB3's: nothing is computed once
    (loss, parameters), (slow_loss, slow_parameters) = _fit(model), _fit(other, monkeypatch)
    assert loss == pytest.approx(slow_loss, rel=1e-4)
    assert th.allclose(parameters, slow_parameters, atol=1e-5)


class WithSideChannel(Part):
    """What the critic sees besides the features, it takes from the extractor itself."""

    extractor: Branches

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        return features * self.extractor.shown.repeat(1, 4)


class SideChannel(MultiInputActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = WithSideChannel()  # type: ignore[assignment]
        vars(self.mlp_extractor)["extractor"] = self.features_extractor


def test_a_head_of_the_users_own_runs_with_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features alone are not all that it needs: the fit is that of ``predict_values``, to 1e-5."""
    settings = {**SMALL, "policy_kwargs": {"features_extractor_class": Branches}}
    results = []
    for replaced in (False, True):
        model = TRPO(SideChannel, Privileged(observation_space=PRIVILEGED), n_critic_updates=0, **settings).learn(96)
        if replaced:
            own = model.policy.predict_values
            model.policy.predict_values = lambda observations, own=own: own(observations)
        results.append(_fit(model))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    assert th.allclose(results[0][1], results[1][1], atol=1e-5)


def test_steps_aside() -> None:
    """Other optimizers and other layers are PyTorch's."""
    for kwargs, expected in (
        ({}, MlpRegression),
        ({"optimizer_class": th.optim.SGD}, TorchRegression),
        ({"optimizer_kwargs": {"weight_decay": 0.1}}, TorchRegression),
        ({"activation_fn": nn.ELU}, TorchRegression),
        ({"share_features_extractor": False}, TorchRegression),
    ):
        model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs=kwargs, **SMALL).learn(96)
        samples = Samples.from_buffer(model.rollout_buffer)
        actor = Actor(model.policy, samples.observations)
        regression = choose_regression(
            model.policy, list(actor.critic_parameters(samples.observations).values()), samples, 32, ALONE
        )
        assert type(regression) is expected


def test_what_is_hooked_into_the_critic_is_fitted_with_it() -> None:
    """A hook that stops the hidden layers' outputs leaves the last layer nothing to learn from but its bias."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    model.policy.mlp_extractor.value_net.register_forward_hook(lambda module, inputs, outputs: outputs * 0.0)
    before = model.policy.value_net.weight.clone()
    model.learn(96)
    assert th.equal(model.policy.value_net.weight, before) and float(model.policy.value_net.bias) != 0.0


def test_a_minibatch_of_others_moves_by_their_gradient_alone() -> None:
    """A rank that holds none of a minibatch's rows adds zeros, though its network cannot be given no rows."""
    network = nn.Linear(4, 1)
    optimizer = th.optim.SGD(network.parameters(), lr=1.0)
    ranks = copy(ALONE)
    ranks.size = 2
    ranks.all_reduce = lambda tensors: [tensor.add_(0.25) for tensor in tensors]
    inputs, targets = th.randn(6, 2, 2), th.randn(6)
    regression = TorchRegression(
        lambda rows: network(rows.view(len(rows), -1)), inputs, targets, [*network.parameters()], optimizer, ranks
    )
    before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    regression.shuffle(th.arange(6))
    regression.step(Minibatch(slice(3, 3), 5))
    assert th.equal(nn.utils.parameters_to_vector(network.parameters()), before - 0.25)
    assert regression.finish() == 0.0


def test_fit_learns_the_returns() -> None:
    """Returns that are a function of the state are explained to 95 %, measured from outside."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, n_critic_updates=200, learning_rate=3e-3).learn(96)
    model.rollout_buffer.returns[:] = np.sin(3.0 * model.rollout_buffer.observations[:, :, 0])
    model.train()
    samples = Samples.from_buffer(model.rollout_buffer)
    with th.no_grad():
        error = model.policy.predict_values(samples.observations).flatten() - samples.returns
    assert float(error.var()) < 0.05 * float(samples.returns.var())
