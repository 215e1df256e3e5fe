"""What users' callbacks, environments and networks do with a rollout works as it does with SB3's own algorithms."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EveryNTimesteps
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper
from torch import nn

from sb3_trpo import TRPO
from tests.toys import ToyEnv

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


class OwnNames(nn.Module):
    """An extractor as SB3's documentation describes it, its layers named by another library."""

    latent_dim_pi = latent_dim_vf = 8

    def __init__(self, n_features: int):
        super().__init__()
        self.actor, self.critic = nn.Linear(n_features, 8), nn.Linear(n_features, 8)

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        return self.actor(features).tanh()

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        return self.critic(features).tanh()


class OwnNamesPolicy(ActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = OwnNames(self.features_dim)  # type: ignore[assignment]


def test_layers_may_have_any_names() -> None:
    model = TRPO(OwnNamesPolicy, ToyEnv(), **SMALL).learn(32)
    assert model.last_update["train/status"] == "ok"


class Locals(BaseCallback):
    """Keeps the number of every step, and recomputes the advantages with the values it finds at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def _on_step(self) -> bool:
        self.steps.append(self.locals["n_steps"])
        return True

    def _on_rollout_end(self) -> None:
        buffer = deepcopy(self.model.rollout_buffer)  # type: ignore[attr-defined]
        buffer.compute_returns_and_advantage(self.locals["values"], self.locals["dones"])
        np.testing.assert_allclose(buffer.advantages, self.model.rollout_buffer.advantages, atol=1e-5)  # type: ignore[attr-defined]


class Values(BaseCallback):
    """Whether there are values at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[bool] = []

    def _on_step(self) -> bool:
        self.found.append("values" in self.locals)
        return True


@pytest.mark.parametrize("nested", [False, True])
def test_values_of_the_last_rollout_are_not_found_in_the_next(nested: bool) -> None:
    """Values are computed after a rollout: during one, a callback that asks for them gets a KeyError, not old ones."""
    values = Values()
    TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(96, callback=EveryNTimesteps(1, values) if nested else values)
    assert len(values.found) == 96 and not any(values.found)


class OwnForward(ActorCriticPolicy):
    def forward(self, obs: Any, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        return super().forward(obs, deterministic)


@pytest.mark.parametrize("policy", [ActorCriticPolicy, OwnNamesPolicy, OwnForward])
@pytest.mark.parametrize("algorithm", [TRPO, PPO])
def test_callbacks_find_their_locals(algorithm: Any, policy: type[ActorCriticPolicy]) -> None:
    """The number of every step; V of the last observations at the end of the rollout."""
    callback = Locals()
    algorithm(policy, ToyEnv(), **SMALL).learn(32, callback=callback)
    assert callback.steps == list(range(32))


class Moving(ToyEnv):
    """Tells where it is with an array that it goes on using."""

    def __init__(self) -> None:
        super().__init__()
        self.place = np.zeros(1)

    def step(self, action: Any) -> Any:
        self.place += 1.0
        return *super().step(action)[:-1], {"place": self.place, "nested": {"place": [self.place]}}


def test_infos_can_be_kept() -> None:
    """What a callback keeps of an info does not change afterwards."""
    kept: list[dict[str, Any]] = []
    TRPO("MlpPolicy", Moving(), **SMALL).learn(32, callback=lambda locals_, _: kept.append(locals_["infos"][0]) or True)
    assert [info["place"].item() for info in kept] == list(range(1, 33))
    assert [info["nested"]["place"][0].item() for info in kept] == list(range(1, 33))


class OneBuffer(VecEnvWrapper):
    """Hands out the last observations of episodes in one array."""

    def reset(self) -> Any:
        self.last = np.zeros(4, dtype=np.float32)
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                self.last[:] = info["terminal_observation"]
                info["terminal_observation"] = self.last
        return observations, rewards, dones, infos


def test_last_observations_may_share_memory() -> None:
    """Rewards with the bootstraps of time limits are those of environments that make a new array each time."""
    rewards = []
    for wrap in (lambda env: env, OneBuffer):
        model = TRPO("MlpPolicy", wrap(DummyVecEnv([ToyEnv])), **SMALL).learn(32)
        rewards.append(model.rollout_buffer.rewards)
    assert np.array_equal(*rewards)


def test_parameters_changed_on_the_way_are_reported() -> None:
    """By a callback at a step of the rollout; between rollouts they may change."""

    class Narrowing(BaseCallback):
        def _narrow(self) -> None:
            self.model.policy.log_std.data -= 1.0  # type: ignore[operator]

        def _on_rollout_start(self) -> None:
            self._narrow()

        def _on_step(self) -> bool:
            return True

    class NarrowingLater(Narrowing):
        def _on_step(self) -> bool:
            if self.n_calls == 16:
                self._narrow()
            return True

    TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32, callback=Narrowing())
    with pytest.warns(RuntimeWarning, match="on_rollout_start"):
        TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32, callback=NarrowingLater())


@pytest.mark.parametrize("n_steps", [16, 64])
def test_another_number_of_steps_is_refused(n_steps: int) -> None:
    """The buffer was made before: part of it would stay empty, or it would run over."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    model.n_steps = n_steps
    with pytest.raises(ValueError, match=rf"n_steps={n_steps}.*32 steps.*load"):
        model.learn(64)


def test_hooks_of_the_optimizer_are_called() -> None:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, n_critic_updates=5)
    calls: list[int] = []
    model.policy.optimizer.register_step_pre_hook(lambda *_: calls.append(1))
    model.learn(32)
    assert len(calls) == 5


def test_parameters_stay_where_they_are() -> None:
    """Others may hold views of them: memory shared with other processes, an exported network."""
    model = TRPO("MlpPolicy", ToyEnv(spaces.Discrete(3)), **SMALL)
    places = [parameter.data_ptr() for parameter in model.policy.parameters()]
    model.learn(64)
    assert [parameter.data_ptr() for parameter in model.policy.parameters()] == places
