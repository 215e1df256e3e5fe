"""The critic's fit is kept whole or undone whole: parameters, buffers and all of the optimizer's state."""

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_trpo import TRPO
from sb3_trpo.policy.snapshot import Snapshot
from tests.own_policies import POLICIES
from tests.toys import ToyEnv

SMALL: dict[str, Any] = {
    "n_steps": 64,
    "batch_size": 32,
    "seed": 0,
    "device": "cpu",
    "n_critic_updates": 3,
    "normalize_advantage": False,
}
HUGE = 1e25  # its square is beyond float32
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {},
    "Adam with weight decay": {"optimizer_kwargs": {"weight_decay": 0.1}},
    "amsgrad": {"optimizer_kwargs": {"amsgrad": True}},
    "AdamW": {"optimizer_class": th.optim.AdamW},
    "RMSprop": {"optimizer_class": th.optim.RMSprop},
    "Adagrad": {"optimizer_class": th.optim.Adagrad},
    "separate extractors": {"share_features_extractor": False},
}


def _state(model: TRPO) -> Any:
    return deepcopy((model.policy.state_dict(), model.policy.optimizer.state_dict()["state"]))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return all(map(_equal, a, b))
    return bool(th.equal(a, b)) if isinstance(a, th.Tensor) else a == b


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_huge_finite_reward_leaves_critic_and_optimizer_as_they_were(name: str, tmp_path: Path) -> None:
    """And says so once; in the zip, too; afterwards the critic learns."""
    env = ToyEnv(faults={150: ("reward", HUGE)})
    model = TRPO("MlpPolicy", env, policy_kwargs=OPTIMIZERS[name], **SMALL)
    model.learn(128)
    critic = model.policy.value_net.weight.detach().clone()
    state = deepcopy(model.policy.optimizer.state_dict()["state"])
    with pytest.warns(RuntimeWarning, match="optimizer's state, and was undone.*VecNormalize"):
        model.learn(64, reset_num_timesteps=False)
    assert model.last_update["train/critic_status"] == "not finite"
    assert th.equal(model.policy.value_net.weight, critic)
    assert _equal(model.policy.optimizer.state_dict()["state"], state)
    model.save(tmp_path / "model.zip")
    _, params, _ = load_from_zip_file(tmp_path / "model.zip")
    saved = params["policy.optimizer"]["state"].values()
    assert all(th.isfinite(value).all() for state in saved for value in state.values() if isinstance(value, th.Tensor))
    model.learn(64, reset_num_timesteps=False)
    assert model.last_update["train/critic_status"] == "ok"
    assert not th.equal(model.policy.value_net.weight, critic)


class Unwritable(FlattenExtractor):
    """Holds what cannot be written to, because one number stands for many."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space)
        self.register_buffer("scale", th.ones(1).expand(3))
        self.factor = np.broadcast_to(np.float32(1.0), (3,))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return super().forward(observations) * self.scale * th.as_tensor(self.factor.copy())


def test_a_fit_is_undone_beside_what_cannot_be_written_to() -> None:
    model = TRPO("MlpPolicy", "Pendulum-v1", policy_kwargs={"features_extractor_class": Unwritable}, **SMALL)
    critic = model.policy.value_net.weight.detach().clone()

    class Huge(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            self.model.rollout_buffer.returns[:] = 1e30  # type: ignore[attr-defined]

    with pytest.warns(RuntimeWarning):
        model.learn(64, Huge())
    assert model.last_update["train/critic_status"] == "not finite"
    assert th.equal(model.policy.value_net.weight, critic)


class NoGradients(ActorCriticPolicy):
    @th.no_grad()
    def predict_values(self, obs: Any) -> th.Tensor:
        return super().predict_values(obs)


def _forgets_the_critic(model: TRPO) -> None:
    actors = [*model.policy.mlp_extractor.policy_net.parameters(), *model.policy.action_net.parameters(), model.policy.log_std]
    model.policy.optimizer = th.optim.Adam(actors)


class WithAuxiliary(ActorCriticPolicy):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.auxiliary = th.nn.Linear(2, 2)


@pytest.mark.parametrize("case", ["no gradients", "not in the optimizer", "frozen"])
def test_a_critic_that_cannot_be_fitted_is_named_unless_it_is_frozen(case: str) -> None:
    model = TRPO({"no gradients": NoGradients, "frozen": WithAuxiliary}.get(case, "MlpPolicy"), ToyEnv(), **SMALL)
    if case == "not in the optimizer":
        _forgets_the_critic(model)
    elif case == "frozen":
        for part in (model.policy.mlp_extractor.value_net, model.policy.value_net):
            part.requires_grad_(False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.learn(128)
    told = [str(warning.message) for warning in said if "The critic was not fitted" in str(warning.message)]
    assert len(told) == (case != "frozen")
    assert model.last_update["train/critic_status"] == ("ok" if case == "frozen" else "nothing to fit")


@pytest.mark.parametrize("name", POLICIES)
def test_a_snapshot_puts_everything_back(name: str) -> None:
    """After three updates that move parameters, buffers, plain attributes and the optimizer's state, bit for bit."""
    model = TRPO(POLICIES[name], "Pendulum-v1", **SMALL, learning_rate=1e-2)
    model.learn(64)
    observations = th.as_tensor(model.rollout_buffer.observations).flatten(0, 1)
    before, snapshot = _state(model), Snapshot(model.policy)
    outputs = model.policy.evaluate_actions(observations, th.zeros(64, 1))
    model.policy.set_training_mode(True)
    for _ in range(3):
        values, log_prob, _ = model.policy.evaluate_actions(observations, th.ones(64, 1))
        loss = values.mean() + log_prob.mean()
        model.policy.optimizer.zero_grad()
        loss.backward()
        model.policy.optimizer.step()
    model.policy.set_training_mode(False)
    assert snapshot.changed() and not _equal(before, _state(model))
    snapshot.restore()
    assert not snapshot.changed() and _equal(before, _state(model))
    for now, old in zip(model.policy.evaluate_actions(observations, th.zeros(64, 1)), outputs, strict=True):
        assert th.equal(now, old)  # type: ignore[arg-type]
