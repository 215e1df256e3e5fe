"""One stream of noise: every way to act draws, from the same random numbers, the actions that SB3's own ``forward`` draws."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.policy import action_distribution, actions_from_noise, distributions, numpy_actor
from sb3_trpo.sampling import evaluators
from sb3_trpo.trust_region import DiagonalGaussian
from tests.toys import DICT_OBSERVATIONS, ToyEnv

SPACES: dict[str, tuple[spaces.Space, dict[str, Any]]] = {
    "Box": (spaces.Box(-1.0, 1.0, (3,)), {}),
    "wide Box": (spaces.Box(-1.0, 1.0, (17,)), {}),  # PyTorch draws 16 normal numbers or more in another way
    "Discrete": (spaces.Discrete(4), {}),
    "MultiDiscrete": (spaces.MultiDiscrete([3, 2, 4]), {}),
    "MultiBinary": (spaces.MultiBinary(5), {}),
    "gSDE": (spaces.Box(-1.0, 1.0, (3,)), {"use_sde": True}),
    "squashed gSDE": (spaces.Box(-1.0, 1.0, (3,)), {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
}
SMALL: dict[str, Any] = {"n_steps": 64, "batch_size": 64, "seed": 0, "device": "cpu"}


def _policy(space: spaces.Space, **settings: Any) -> ActorCriticPolicy:
    policy = TRPO("MlpPolicy", ToyEnv(space), **SMALL, **settings).policy
    nn.init.normal_(policy.action_net.weight)
    policy.set_training_mode(False)
    return policy


@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("kind", SPACES)
def test_noise_and_act_are_the_distributions_own_sample(kind: str, n: int) -> None:
    """Bit for bit; of gSDE, whose noise SB3 draws once a rollout, to 1e-6."""
    space, settings = SPACES[kind]
    policy = _policy(space, **settings)
    obs = th.rand(n, 4)
    with th.no_grad():
        row = action_distribution(policy.get_distribution(obs))
        for seed in range(20):
            th.manual_seed(seed)
            if policy.use_sde:
                policy.action_dist.sample_weights(policy.log_std, n)  # type: ignore[union-attr]
            expected = policy.get_distribution(obs).get_actions()
            th.manual_seed(seed)
            if policy.use_sde:
                row.noise(())  # the matrix that a batch of one uses
                noise = row.noise((n,))
                if n == 1:
                    th.manual_seed(seed)
                    noise = row.noise(())[None]
                th.testing.assert_close(actions_from_noise(policy, obs, noise.numpy()), expected, rtol=1e-5, atol=1e-6)
            else:
                noise = row.noise((n,))
                assert th.equal(actions_from_noise(policy, obs, noise.numpy()), expected)


@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("kind", ["Box", "wide Box", "Discrete"])
def test_the_fast_actor_is_the_policys_forward(kind: str, n: int) -> None:
    """100 steps from one seed: actions of SB3's ``forward`` to 1e-5, and the generator in the same state afterwards."""
    policy = _policy(SPACES[kind][0])
    observations = np.random.default_rng(0).normal(size=(100, n, 4)).astype(np.float32)
    actor = numpy_actor(policy, observations[0])
    assert actor is not None
    th.manual_seed(3)
    fast = [actor.act(obs, noise) for obs, noise in zip(observations, actor.noise(100), strict=True)]
    state = th.get_rng_state()
    th.manual_seed(3)
    with th.no_grad():
        plain = [policy(th.as_tensor(obs))[0].numpy() for obs in observations]
    assert th.equal(state, th.get_rng_state())
    np.testing.assert_allclose(fast, plain, atol=1e-5)


RUNS: dict[str, tuple[spaces.Space, spaces.Space, str, dict[str, Any]]] = {
    f"{kind} on {where}": (SPACES[kind][0], observations, policy, {**SPACES[kind][1], **settings})
    for kind in SPACES
    for where, observations, policy, settings in (
        ("vectors", ToyEnv().observation_space, "MlpPolicy", {}),
        ("vectors, ReLU and two sizes", ToyEnv().observation_space, "MlpPolicy", {"relu": True}),
        ("dicts", DICT_OBSERVATIONS, "MultiInputPolicy", {}),
    )
}


@pytest.mark.parametrize("run", RUNS)
def test_whole_runs_are_those_of_sb3s_own_way(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five updates, ours and with SB3's ``forward`` at every step: actions to 1e-5, parameters to 1e-5."""
    space, observations, policy, settings = RUNS[run]
    if settings.pop("relu", False):
        net_arch = {"pi": [32, 16], "vf": [16]}
        settings["policy_kwargs"] = {"activation_fn": nn.ReLU, "net_arch": net_arch, **settings.get("policy_kwargs", {})}
    results = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(evaluators, "is_stock_policy", lambda policy: False)
        model = TRPO(policy, ToyEnv(space, observations), **SMALL, **settings)
        drawn: list[np.ndarray] = []
        model.learn(5 * 64, callback=lambda locals_, _, drawn=drawn: drawn.append(locals_["actions"].copy()) or True)
        results.append((np.array(drawn), nn.utils.parameters_to_vector(model.policy.parameters()).detach().numpy()))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)


def test_a_dict_of_one_vector_learns_what_the_vector_learns() -> None:
    """``MultiInputPolicy`` and ``MlpPolicy``, equal seeds: the same run, parameters to 1e-5."""

    in_dict = TransformObservation(ToyEnv(), lambda obs: {"vector": obs}, spaces.Dict(vector=ToyEnv().observation_space))
    results = []
    for policy, env in (("MlpPolicy", ToyEnv()), ("MultiInputPolicy", in_dict)):
        model = TRPO(policy, env, **SMALL).learn(5 * 64)
        results.append(nn.utils.parameters_to_vector(model.policy.parameters()).detach().numpy())
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)


def test_the_first_actions_are_those_of_sb3_contrib() -> None:
    """Equal seeds and settings: the first rollout is the peer's, to 1e-5 in the actions."""
    contrib = pytest.importorskip("sb3_contrib")
    actions = []
    for algorithm in (TRPO, contrib.TRPO):
        model = algorithm("MlpPolicy", "Pendulum-v1", **SMALL)
        model.learn(64)
        actions.append(model.rollout_buffer.actions.reshape(-1))
    np.testing.assert_allclose(*actions, atol=1e-5)


class Scale(nn.Module):
    def forward(self, x: th.Tensor) -> th.Tensor:
        return 5.0 * x


class CountingHead(nn.Linear):
    """Counts its calls."""

    calls = 0

    def forward(self, x: th.Tensor) -> th.Tensor:
        self.calls += 1
        return super().forward(x)


def _scaled_flatten(policy: Any) -> None:
    policy.features_extractor.flatten = nn.Sequential(nn.Flatten(), Scale())


def _patched_sample(policy: Any) -> None:
    own = policy.action_dist.sample
    policy.action_dist.sample = lambda: own() * 0.1


def _patched_distribution(policy: Any) -> None:
    own = policy.action_dist.proba_distribution
    policy.action_dist.proba_distribution = lambda mean, log_std: own(mean, log_std - 3.0)


def _patched_layer(policy: Any) -> None:
    layer = policy.mlp_extractor.policy_net[0]
    own = layer.forward
    layer.forward = lambda x: own(x) * 3.0


def _hook(policy: Any) -> None:
    policy.mlp_extractor.policy_net[2].register_forward_hook(lambda module, inputs, output: output * 3.0)


def _subclass(policy: Any) -> None:
    class Tripled(nn.Linear):
        def forward(self, x: th.Tensor) -> th.Tensor:
            return 3.0 * super().forward(x)

    policy.action_net.__class__ = Tripled


def _parametrized(policy: Any) -> None:
    nn.utils.parametrize.register_parametrization(policy.action_net, "weight", Scale())


CHANGES = {
    change.__name__[1:]: change
    for change in (
        *(_scaled_flatten, _patched_sample, _patched_distribution, _patched_layer, _hook, _subclass, _parametrized),
    )
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_policy_acts_as_changed(change: str) -> None:
    """From one seed, the actions of a rollout are what ``forward`` draws on its observations, to 1e-5."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    nn.init.normal_(model.policy.action_net.weight)
    CHANGES[change](model.policy)
    drawn: list[np.ndarray] = []
    states: list[Any] = []
    model.learn(0)
    model.learn(
        64,
        callback=lambda locals_, _: (
            drawn.append((locals_["obs"], locals_["actions"])) or states.append(th.get_rng_state()) or True
        ),
    )
    with th.no_grad():
        fresh = TRPO("MlpPolicy", ToyEnv(), **SMALL)
        nn.init.normal_(fresh.policy.action_net.weight)
        CHANGES[change](fresh.policy)
        for (_, _), (obs, actions), state in zip(drawn, drawn[1:], states, strict=False):
            th.set_rng_state(state)
            np.testing.assert_allclose(actions, fresh.policy(th.as_tensor(obs))[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", SPACES)
def test_noise_is_the_cpus_whatever_pytorchs_default_device_is(kind: str) -> None:
    """As simulators are. The device *meta* stands for a GPU: it has no numbers to give."""
    space, settings = SPACES[kind]
    policy = _policy(space, **settings)
    obs = np.zeros((2, 4), dtype=np.float32)
    kind_of_action = action_distribution(policy.get_distribution(th.as_tensor(obs)))
    actor = numpy_actor(policy, obs)
    with th.device("meta"):
        assert kind_of_action.noise((3,)).device.type == "cpu"
        assert actor is None or np.isfinite(next(actor.noise(1))).all()


class WithLogStd(ActorCriticPolicy):
    """A discrete policy that calls something else log_std."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.log_std = nn.Parameter(th.zeros(1))


def test_log_std_is_a_gaussians() -> None:
    """Truth: the same policy without it."""
    runs = [TRPO(policy, ToyEnv(spaces.Discrete(3)), **SMALL).learn(128) for policy in (WithLogStd, ActorCriticPolicy)]
    assert all(run.last_update["train/status"] == "ok" for run in runs)
    assert th.equal(*(run.policy.action_net.weight for run in runs))


def test_global_hooks_are_heeded() -> None:
    """A hook on all modules of PyTorch's is called at every step, as it is under PPO."""
    calls: list[int] = []
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, *_: calls.append(1) if module is model.policy else None
    )
    try:
        model.learn(64)
    finally:
        handle.remove()
    assert len(calls) == 64


def test_a_head_of_ones_own_is_called_at_every_step() -> None:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, n_critic_updates=0)
    head = CountingHead(64, 1)
    model.policy.value_net = head
    calls: list[int] = []
    model.learn(64, callback=lambda *_: calls.append(head.calls) or True)
    assert all(after > before for before, after in zip([0, *calls], calls, strict=False))


@pytest.mark.parametrize("n_steps", [1, 256, 300])
@pytest.mark.parametrize("kind", ["Box", "wide Box", "Discrete"])
def test_noise_is_drawn_for_the_steps_of_the_path_and_no_more(kind: str, n_steps: int) -> None:
    """Bit for bit what one call a step draws, as it is added; afterwards the generator stands where that leaves it."""
    actor = numpy_actor(_policy(SPACES[kind][0]), np.zeros((2, 4), dtype=np.float32))
    assert actor is not None
    ahead, stepwise = th.Generator().manual_seed(5), th.Generator().manual_seed(5)
    noise = list(actor.noise(n_steps, ahead))
    drawn = [actor.kind.noise((2,), stepwise).numpy() for _ in range(n_steps)]
    expected = [-np.log(q) for q in drawn] if kind == "Discrete" else [actor.deviation * epsilon for epsilon in drawn]
    assert np.array_equal(noise, expected) and th.equal(ahead.get_state(), stepwise.get_state())


def test_an_adapter_of_ones_own_needs_nothing_for_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of one that is known: what the guide documents is enough, and the policy's own forward acts."""

    class Adapter:
        family = DiagonalGaussian()

        def __init__(self, distribution: Any):
            pass

        def parameters(self, distribution: Any) -> th.Tensor:
            normal = distribution.distribution
            return th.cat([normal.mean, normal.stddev.log()], dim=1)

    known = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(64)
    monkeypatch.setitem(distributions._BY_CLASS, DiagGaussianDistribution, Adapter)
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(64)
    assert np.allclose(model.rollout_buffer.actions, known.rollout_buffer.actions, atol=1e-5)
    assert all(map(th.allclose, model.policy.parameters(), known.policy.parameters()))
