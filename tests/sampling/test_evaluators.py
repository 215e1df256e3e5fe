"""Collection gives the numbers SB3's own gives for the same actions, and steps aside for whoever overrides SB3."""

from collections import defaultdict
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.policy import NumpyActor, numpy_actor
from sb3_trpo.policy.recognition import numpy_chain
from sb3_trpo.sampling.evaluators import DeferredEvaluator, StepwiseEvaluator, make_evaluator
from sb3_trpo.vec_env import shallow_copies
from tests.toys import BOX_ACTIONS, DICT_OBSERVATIONS, ToyEnv

N_STEPS = 250  # Pendulum's time limit falls inside
CASES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "Gaussian": ("Pendulum-v1", "MlpPolicy", {}),
    "categorical": ("CartPole-v1", "MlpPolicy", {"policy_kwargs": {"activation_fn": th.nn.ReLU, "net_arch": [32]}}),
    "gSDE": ("Pendulum-v1", "MlpPolicy", {"use_sde": True, "sde_sample_freq": 8}),
    "squashed gSDE": ("Pendulum-v1", "MlpPolicy", {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    "multi-categorical": (lambda: ToyEnv(spaces.MultiDiscrete([3, 2])), "MlpPolicy", {}),
    "Bernoulli": (lambda: ToyEnv(spaces.MultiBinary(3)), "MlpPolicy", {}),
    "shared extractor": (lambda: ToyEnv(BOX_ACTIONS, DICT_OBSERVATIONS), "MultiInputPolicy", {}),
    "separate extractors": (
        lambda: ToyEnv(spaces.Discrete(3), DICT_OBSERVATIONS),
        "MultiInputPolicy",
        {"policy_kwargs": {"share_features_extractor": False}},
    ),
    "discrete observations": ("FrozenLake-v1", "MlpPolicy", {}),
}


def _env(env: Any) -> VecEnv:
    normalize = env == "Pendulum-v1"
    venv = make_vec_env(env, n_envs=2, seed=3)
    return VecNormalize(venv) if normalize else venv


@pytest.mark.parametrize("case", CASES)
def test_same_numbers_as_sb3_for_the_same_actions(case: str) -> None:
    """SB3's collector, made to repeat our actions: rewards, values, log-probabilities, advantages to 1e-6 + 1e-5."""
    env, policy, kwargs = CASES[case]
    kwargs = {"n_steps": N_STEPS, "device": "cpu", "seed": 5, **kwargs}
    model = TRPO(policy, _env(env), batch_size=2 * N_STEPS, **kwargs)
    drawn: list[np.ndarray] = []
    model.learn(2 * N_STEPS, callback=lambda locals_, _: drawn.append(locals_["actions"].copy()) or True)

    reference = A2C(policy, _env(env), **{**kwargs, "gae_lambda": 0.95})
    reference.policy.load_state_dict(TRPO(policy, _env(env), batch_size=2 * N_STEPS, **kwargs).policy.state_dict())
    reference.train = lambda: None  # type: ignore[method-assign]
    repeated = iter(drawn)

    def forward(obs: Any) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        actions = th.as_tensor(next(repeated))
        values, log_prob, _ = reference.policy.evaluate_actions(obs, actions)
        return actions, values, log_prob

    reference.policy.forward = forward  # type: ignore[method-assign, assignment]
    reference.learn(2 * N_STEPS)
    ours, theirs = model.rollout_buffer, reference.rollout_buffer
    for name in ("actions", "rewards", "episode_starts", "values", "log_probs", "advantages", "returns"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-5, err_msg=name)
    if isinstance(ours.observations, dict):
        assert all(np.array_equal(ours.observations[key], theirs.observations[key]) for key in ours.observations)
    else:
        assert np.array_equal(ours.observations, theirs.observations)


def _evaluator(policy: ActorCriticPolicy, buffer_class: type[RolloutBuffer] = RolloutBuffer) -> type:
    buffer = buffer_class(4, policy.observation_space, policy.action_space, device="cpu", n_envs=1)
    return type(make_evaluator(policy, buffer, np.zeros((1, 4), dtype=np.float32), 0.99))


def _policy(cls: type[ActorCriticPolicy] = ActorCriticPolicy, **kwargs: Any) -> ActorCriticPolicy:
    return cls(ToyEnv().observation_space, BOX_ACTIONS, lambda _: 1e-3, **kwargs)


def test_steps_aside_for_overrides() -> None:
    """A policy, distribution or buffer with methods of its own is called at every step, as SB3 calls it."""
    assert _evaluator(_policy()) is DeferredEvaluator
    for method in ("forward", "predict_values", "get_distribution"):
        cls = type("Own", (ActorCriticPolicy,), {method: lambda self, *args, **kwargs: None})
        assert _evaluator(_policy(cls)) is StepwiseEvaluator
        patched = _policy()
        setattr(patched, method, lambda *args: None)
        assert _evaluator(patched) is StepwiseEvaluator
    distribution = _policy()
    distribution.action_dist = type("Own", (type(distribution.action_dist),), {})(3)
    assert _evaluator(distribution) is StepwiseEvaluator
    for method in ("add", "_get_samples"):
        own_buffer = type("Own", (RolloutBuffer,), {method: lambda self, *args: None})
        assert _evaluator(_policy(), own_buffer) is StepwiseEvaluator


def test_numpy_actor_steps_aside_too() -> None:
    """Hooks, gSDE, unknown activations and large layers go through PyTorch."""
    obs = np.zeros((8, 4), dtype=np.float32)
    assert numpy_actor(_policy(), obs)
    assert not numpy_actor(_policy(net_arch=[256, 256]), obs)
    for part in ("action_net", "mlp_extractor.policy_net", "features_extractor.flatten"):
        hooked = _policy()
        hooked.get_submodule(part).register_forward_hook(lambda *args: None)
        assert not numpy_actor(hooked, obs)
    assert not numpy_actor(_policy(use_sde=True), obs)
    assert not numpy_actor(_policy(activation_fn=th.nn.ELU), obs)


def _fast(policy: ActorCriticPolicy, observation: np.ndarray) -> np.ndarray:
    """Actions of the fast actor, for more rows than it is used for."""
    with th.no_grad():
        distribution = policy.get_distribution(th.as_tensor(observation))
    actor = NumpyActor(policy, numpy_chain(policy), distribution)
    return actor.act(observation, next(actor.noise(1)))


def test_numpy_actor_draws_from_the_policys_distribution() -> None:
    """Gaussian: mean and deviation of 20,000 draws; categorical: frequencies; all within 4 standard errors."""
    n = 20_000
    observation = np.tile(np.float32([0.3, -0.2, 0.9, 0.1]), (n, 1))
    policy = _policy(log_std_init=-0.5)
    distribution = policy.get_distribution(th.as_tensor(observation[:1])).distribution
    actions = _fast(policy, observation)
    mean, std = distribution.mean.detach().numpy()[0], distribution.stddev.detach().numpy()[0]
    assert np.all(np.abs(actions.mean(axis=0) - mean) < 4 * std / np.sqrt(n))
    assert np.all(np.abs(actions.std(axis=0) - std) < 4 * std / np.sqrt(2 * n))

    discrete = ActorCriticPolicy(ToyEnv().observation_space, spaces.Discrete(3), lambda _: 1e-3)
    th.nn.init.normal_(discrete.action_net.weight)
    probs = discrete.get_distribution(th.as_tensor(observation[:1])).distribution.probs.detach().numpy()[0]
    counts = np.bincount(_fast(discrete, observation), minlength=3) / n
    assert np.all(np.abs(counts - probs) < 4 * np.sqrt(probs * (1 - probs) / n))


def test_rollouts_differ_and_noise_is_fresh() -> None:
    """Two rollouts of one run do not repeat their noise."""
    model = TRPO("MlpPolicy", gym.make("Pendulum-v1"), n_steps=32, batch_size=32, device="cpu", seed=0, target_kl=1e-12)
    model.learn(32)
    first = model.rollout_buffer.actions.copy()
    model.learn(32, reset_num_timesteps=False)
    assert not np.any(np.isclose(first, model.rollout_buffer.actions))


@pytest.mark.parametrize("observation_space", [ToyEnv().observation_space, DICT_OBSERVATIONS], ids=["Box", "Dict"])
def test_shallow_copies_return_the_same(observation_space: spaces.Space) -> None:
    """Twin environments, one spared the deep copies: equal observations, rewards, dones and infos, and nothing aliased."""
    makers = [lambda: ToyEnv(BOX_ACTIONS, observation_space) for _ in range(2)]
    plain, spared = DummyVecEnv(makers), VecNormalize(DummyVecEnv(makers), training=False, norm_obs=False, norm_reward=False)
    for env in (plain, spared):
        env.seed(0)
        env.reset()
    kept: list[Any] = []
    with shallow_copies(spared):
        for step in range(25):  # two resets
            actions = np.full((2, 3), 0.1 * step, dtype=np.float32)
            kept.append((plain.step(actions), spared.step(actions)))
    assert "step_wait" not in vars(spared.unwrapped)
    for (obs, rewards, dones, infos), (other_obs, *others) in kept:
        assert np.array_equal(rewards, others[0]) and np.array_equal(dones, others[1])
        pairs = zip(obs.values(), other_obs.values(), strict=True) if isinstance(obs, dict) else [(obs, other_obs)]
        assert all(np.array_equal(a, b) for a, b in pairs)
        for info, other in zip(infos, others[2], strict=True):
            assert info.keys() == other.keys() and info["TimeLimit.truncated"] == other["TimeLimit.truncated"]


class ByForward(ActorCriticPolicy):
    """A policy that must be called at every step."""

    def forward(self, obs: Any, deterministic: bool = False) -> Any:
        return super().forward(obs, deterministic)


@pytest.mark.parametrize("kind", [ActorCriticPolicy, ByForward])
def test_actions_of_a_box_of_whole_numbers_are_kept_as_they_were_drawn(kind: type[ActorCriticPolicy]) -> None:
    """Their log-probabilities are those that PyTorch gives for them, to 1e-5; the environment gets fractions, as from PPO."""
    model = TRPO(kind, ToyEnv(spaces.Box(-5, 5, (3,), dtype=np.int64)), n_steps=64, batch_size=64, n_critic_updates=0, seed=0)
    before = deepcopy(model.policy)
    model.learn(64)
    buffer = model.rollout_buffer
    actions = th.as_tensor(buffer.actions).flatten(0, 1)
    assert (actions != actions.round()).float().mean() > 0.9
    expected = before.get_distribution(th.as_tensor(buffer.observations).flatten(0, 1)).log_prob(actions)
    np.testing.assert_allclose(buffer.log_probs.flatten(), expected.detach().numpy(), atol=1e-5)


class Counting(ToyEnv):
    """Its info counts from nought whatever is asked for."""

    def step(self, action: Any) -> Any:
        *outcome, _ = super().step(action)
        return *outcome, defaultdict(int)


def test_shallow_copies_keep_an_info_of_a_class_of_its_own_and_refuse_too_few_actions() -> None:
    env = DummyVecEnv([Counting, Counting])
    env.reset()
    with shallow_copies(env):
        assert env.step(np.zeros((2, 3)))[3][1]["crashes"] == 0
        with pytest.raises(IndexError):
            env.step(np.zeros((1, 3)))


def test_shallow_copies_leave_subclasses_alone_and_end_with_an_error() -> None:
    """A DummyVecEnv with a step of its own keeps it, and an exception does not leave ours behind."""
    own = type("Own", (DummyVecEnv,), {})([ToyEnv])
    with shallow_copies(own):
        assert "step_wait" not in vars(own)
    env = DummyVecEnv([ToyEnv])
    with pytest.raises(KeyboardInterrupt), shallow_copies(env):
        raise KeyboardInterrupt
    assert "step_wait" not in vars(env)
