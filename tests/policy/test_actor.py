"""Networks of which a state uses a part: a head is trained if any state of the rollout reaches it."""

import os
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.policy import Actor
from tests.ranks import on_ranks
from tests.toys import ToyEnv, parameters, same

SMALL: dict[str, Any] = {"n_steps": 32, "device": "cpu", "seed": 0}
TASKS = 4


class Task(ToyEnv):
    """The first component of an observation is the number of the task."""

    def __init__(self, number: int):
        super().__init__(observation_space=spaces.Box(-10.0, 10.0, (4,)))
        self.number = number

    def _observe(self) -> np.ndarray:
        observation = super()._observe()
        observation[0] = self.number
        return observation


class Heads(BaseFeaturesExtractor):
    """A layer for each task, which only its states go through."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 8)
        self.heads = nn.ModuleList(nn.Linear(4, 8) for _ in range(TASKS + 1))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features = observations.new_zeros(len(observations), 8)
        for number, head in enumerate(self.heads):
            rows = observations[:, 0] == number
            if rows.any():
                features[rows] = th.tanh(head(observations[rows]))
        return features


def tasks(numbers: range = range(TASKS)) -> DummyVecEnv:
    return DummyVecEnv([lambda number=number: Task(number) for number in numbers])


def model_of(env: Any, shared: bool = True, **settings: Any) -> TRPO:
    policy_kwargs = {"features_extractor_class": Heads, "share_features_extractor": shared}
    return TRPO("MlpPolicy", env, policy_kwargs=policy_kwargs, **{**SMALL, "batch_size": 4, **settings})


def moved(model: TRPO, before: dict[str, th.Tensor]) -> set[int]:
    """Numbers of heads that have moved."""
    now = parameters(model)
    return {int(name.split(".")[2]) for name in before if ".heads." in name and not th.equal(now[name], before[name])}


@pytest.mark.parametrize("sampling", ["single_path", "vine"])
@pytest.mark.parametrize("shared", [True, False])
def test_every_head_that_a_state_reaches_is_trained(shared: bool, sampling: str) -> None:
    """By the actor's step, and with an extractor of its own by the critic's fit, whose minibatches lack most heads."""
    model = model_of(tasks(), shared, sampling=sampling)
    before = parameters(model)
    model.learn(TASKS * 32)
    assert model.last_update["train/status"] == model.last_update["train/critic_status"] == "ok"
    assert moved(model, before) == set(range(TASKS))


PRIVILEGED = spaces.Dict({"seen": spaces.Box(-1.0, 1.0, (4,)), "hidden": spaces.Box(-1.0, 1.0, (4,))})


class Branches(BaseFeaturesExtractor):
    """Features of what the actor sees, and of what only the critic is shown."""

    def __init__(self, observation_space: spaces.Dict):
        super().__init__(observation_space, 16)
        self.seen, self.hidden = nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, observations: dict[str, th.Tensor]) -> th.Tensor:
        self.shown = observations["hidden"]
        return th.cat([th.tanh(self.seen(observations["seen"])), th.tanh(self.hidden(observations["hidden"]))], dim=1)


class Part(nn.Module):
    """The actor has the first features, the critic all of them."""

    latent_dim_pi, latent_dim_vf = 8, 16

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        return features[:, :8]

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        return features


class Asymmetric(MultiInputActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Part()  # type: ignore[assignment]


class Privileged(ToyEnv):
    def _observe(self) -> Any:
        self.context = self.np_random.uniform(-1.0, 1.0, 4)
        return {key: self.np_random.uniform(-1.0, 1.0, 4).astype(np.float32) for key in PRIVILEGED}


@pytest.mark.filterwarnings("error:Fitting the critic")
def test_a_part_of_shared_features_that_the_critic_alone_uses_is_the_critics() -> None:
    kwargs = {"features_extractor_class": Branches}
    env = Privileged(observation_space=PRIVILEGED)
    model = TRPO(Asymmetric, env, policy_kwargs=kwargs, batch_size=16, **SMALL)
    extractor = model.policy.features_extractor
    seen, hidden = (part.weight.detach().clone() for part in (extractor.seen, extractor.hidden))
    model.learn(64)
    assert model.last_update["train/status"] == model.last_update["train/critic_status"] == "ok"
    assert not th.allclose(extractor.seen.weight, seen, atol=1e-3)
    assert not th.allclose(extractor.hidden.weight, hidden, atol=1e-3)


class Trunk(FlattenExtractor):
    """A layer of the user's own, on which a head begins with zeros."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space)
        self.layer = nn.Linear(4, 4)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.tanh(self.layer(super().forward(observations)))


@pytest.mark.filterwarnings("error:Fitting the critic")
def test_a_trunk_is_the_actors_though_its_head_begins_with_zeros() -> None:
    """Its gradient is zero then, until the first step is taken."""
    kwargs = {"features_extractor_class": Trunk, "net_arch": []}
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs=kwargs, batch_size=32, **SMALL)
    with th.no_grad():
        model.policy.action_net.weight.zero_()
    before = parameters(model)
    actor = Actor(model.policy, th.rand(32, 4))
    assert any(parameter is model.policy.features_extractor.layer.weight for parameter in actor.parameters)
    assert same(before, parameters(model))
    model.learn(64)
    assert model.last_update["train/status"] == model.last_update["train/critic_status"] == "ok" and not model._left_out


def test_a_minibatch_that_does_not_reach_a_head_leaves_it_alone() -> None:
    """Adam counts its steps: one for each pass and state of the head's task, of twice as many minibatches of one state."""
    model = model_of(tasks(range(2)), shared=False, batch_size=1, n_critic_updates=3).learn(64)
    policy, steps = model.policy, model.policy.optimizer.state
    heads = policy.vf_features_extractor.heads
    assert [int(steps[head.weight]["step"]) for head in heads[:2]] == [96, 96]
    assert int(steps[policy.value_net.weight]["step"]) == 192


def test_chunks_that_lack_heads_give_the_same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradient and Fisher product of one chunk and of many, each of one task at most; to float32 rounding."""
    model = model_of(tasks()).learn(TASKS * 32)
    observations = th.as_tensor(model.rollout_buffer.observations).flatten(0, 1)
    vector, found = None, []
    for activations in (2**23, 100):
        monkeypatch.setattr("sb3_trpo.policy.actor.CHUNK_ACTIVATIONS", activations)
        actor = Actor(model.policy, observations)
        vector = th.randn(len(actor.theta), generator=th.Generator().manual_seed(0))
        product = th.zeros_like(vector)
        chunks = actor.chunks(observations)
        for rows in chunks:
            linearization, _ = actor.linearize(observations[rows])
            product += linearization.vjp(linearization.jvp(vector))
        found.append(product)
    assert len(chunks) > 30
    th.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


def _one_task_on_each_rank() -> Any:
    model = model_of(make_vec_env(lambda: Task(int(os.environ["RANK"])), 1), shared=False)
    before = parameters(model)
    model.learn(2 * 64)
    return parameters(model), moved(model, before)


def test_ranks_with_other_tasks_train_all_heads() -> None:
    results = on_ranks(_one_task_on_each_rank)
    assert all(isinstance(result, tuple) for result in results), results
    (first, heads), (second, _) = results  # the second rank also takes on the first one's parameters
    assert heads == {0, 1} and same(first, second)
