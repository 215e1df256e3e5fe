"""What the study of the vine compares: branches that begin where they say, and estimates that are right."""

from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.vine_study.branching import BeforeFailures, BranchingVecEnv, Present, Rare, Root
from benchmarks.vine_study.siblings import AGES, relatives, sibling_baseline, with_mirrored_noise
from benchmarks.vine_study.tasks import TASKS
from benchmarks.vine_study.vines import FreshValues, Hybrid, LargestAdvantages, TrunkAsBranch
from sb3_trpo import TRPO
from sb3_trpo.policy import Actor
from sb3_trpo.ranks import ALONE
from sb3_trpo.sampling import SAMPLERS, Batch, Samples, Vine, VineBatch, make_vine
from sb3_trpo.sampling.vine import collector
from sb3_trpo.sampling.vine.first_actions import FirstActions
from sb3_trpo.simulators import check_clone
from sb3_trpo.update import PolicyObjective

# Tasks


@pytest.mark.parametrize("name", ["SparseHalfCheetah-v5", "HopperPositions-v5", "ReacherAtEnd-v5"])
def test_tasks_can_be_copied_exactly(name):
    assert name in TASKS
    assert check_clone(gym.make(name), n_steps=50).exact


def test_reward_per_metre():
    env = gym.make("SparseHalfCheetah-v5")
    env.reset(seed=0)
    data = env.unwrapped.data
    places = [0.5, 1.2, 0.3, 1.9, 3.4, -2.0]
    rewards = []
    for place in places:
        data.qpos[0] = env.get_wrapper_attr("start") + place
        rewards.append(env.step(np.zeros(6))[1])
    assert rewards == [0.0, 1.0, 0.0, 0.0, 2.0, 0.0]


# Branches inside the environments


def drawn_actions(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-2.0, 2.0, (n, 4, 1)).astype(np.float32)


def test_shadows_begin_at_their_trunk_and_trunks_do_not_notice():
    plain = make_vec_env("Pendulum-v1", 4, seed=0)
    env = BranchingVecEnv(make_vec_env("Pendulum-v1", 4, seed=0), n_trunks=2, period=5, roots=Present())
    expected, found = plain.reset(), env.reset()
    assert np.array_equal(found[:2], expected[:2]) and np.array_equal(found[2:], found[:2])
    actions = drawn_actions(20)
    actions[7] = actions[7][[0, 1, 0, 1]]
    for step in range(20):
        expected, rewards, _, _ = plain.step(actions[step])
        found, found_rewards, dones, infos = env.step(actions[step])
        assert np.array_equal(found[:2], expected[:2]) and np.array_equal(found_rewards[:2], rewards[:2])
        assert dones.tolist() == [False, False, *[step % 5 == 4] * 2]
        if dones[2]:
            assert np.array_equal(found[2:], found[:2])
            assert infos[2]["TimeLimit.truncated"] and not np.array_equal(infos[2]["terminal_observation"], found[2])
        else:
            assert not np.array_equal(found[2:], found[:2])


def test_branches_that_begin_together_have_random_states_of_their_own():
    env = BranchingVecEnv(make_vec_env("InvertedDoublePendulum-v5", 4, seed=0), n_trunks=2, period=100, roots=Present())
    env.reset()
    for _ in range(50):  # a trunk and its shadow fall at once, and start anew
        found, _, dones, _ = env.step(np.ones((4, 1), dtype=np.float32))
        if dones.any():
            break
    trunk = int(dones.argmax())
    assert dones[trunk] and dones[trunk + 2] and not np.array_equal(found[trunk], found[trunk + 2])


def test_roots_before_failures():
    roots = BeforeFailures(within=6, every=2, size=10)
    env = BranchingVecEnv(make_vec_env("InvertedPendulum-v5", 2, seed=0), n_trunks=1, period=50, roots=roots)
    env.reset()
    path = []
    while not roots.kept:
        obs, _, dones, _ = env.step(np.ones((2, 1), dtype=np.float32))
        path.append(obs[0].copy())
    kept = [next(index for index, seen in enumerate(path) if np.array_equal(seen, root.obs)) for root in roots.kept]
    assert 1 <= len(kept) <= 3 and dones[0]
    assert all(len(path) - 1 - 6 <= index < len(path) - 1 for index in kept)


def test_rare_roots_prefer_what_lies_apart():
    roots = Rare(every=1, size=500)
    rng = np.random.default_rng(0)
    roots.kept.extend(Root(None, obs) for obs in rng.normal(size=(100, 2)))  # type: ignore[arg-type]
    chosen = [roots.choose(None, None, 0, rng, 1).obs for _ in range(200)]  # type: ignore[arg-type, union-attr]
    assert np.linalg.norm(chosen, axis=1).mean() > 1.5 * np.mean([np.linalg.norm(root.obs) for root in roots.kept])


# Siblings


def test_sibling_baseline_by_hand():
    rng = np.random.default_rng(0)
    period, families, members = 2 * AGES, 2, 3
    starts = (rng.random((2 * period, families * members)) < 0.05).astype(np.float32)
    together = relatives(starts, period)
    advantages = rng.normal(size=together.shape) + 3.0 * rng.normal(size=(2, period, 1))
    baseline = sibling_baseline(advantages, together, families)
    centred = advantages - advantages.mean()
    others = np.zeros_like(advantages)
    for segment, age, row in np.ndindex(advantages.shape):
        assert together[segment, age, row] == (not starts[segment * period + 1 : segment * period + age + 1, row].any())
        alive = [r for r in range(row % families, families * members, families) if together[segment, age, r] and r != row]
        if alive and together[segment, age, row]:
            others[segment, age, row] = centred[segment, age, alive].mean()
    for age in (0, AGES):
        mine, theirs = centred[:, age : age + AGES], others[:, age : age + AGES]
        slope = (mine * theirs).sum() / (theirs**2).sum()
        assert 0.0 < slope < 1.0
        assert baseline[:, age : age + AGES] == pytest.approx(slope * theirs, abs=1e-6)


# Vines

SMALL: dict[str, Any] = {"n_steps": 64, "batch_size": 64, "seed": 0, "policy_kwargs": {"net_arch": [16]}, "sampling": "vine"}


def grown(vine: type[Vine], monkeypatch, **options: Any) -> TRPO:
    """A model that has branched from its first rollout."""
    make = partial(make_vine, kind=vine)
    monkeypatch.setitem(SAMPLERS, "vine", make)
    model = TRPO("MlpPolicy", make_vec_env("Pendulum-v1", 2, seed=0), vine_kwargs={"n_states": 6, **options}, **SMALL)
    model.learn(1)
    return model


def test_a_branch_with_the_trunk_s_actions_gains_what_the_trunk_gains(monkeypatch):
    """So the trunk's return and the noise behind its actions are right: to rounding, for every state and branch."""

    class Repeated(TrunkAsBranch):
        def grow(self, policy, buffer, trunk, *others):
            steps, envs = np.transpose(trunk.places)
            actions = th.as_tensor(buffer.actions[steps, envs])[:, None].repeat(1, 2, 1)
            monkeypatch.setattr(collector, "first_actions", lambda *_: FirstActions(actions, th.zeros(6, 2)))
            self.batch = super().grow(policy, buffer, trunk, *others)
            return self.batch

    q_values = grown(Repeated, monkeypatch, branches_per_state=2, branch_length=8)._sampler.batch.q_values  # type: ignore[union-attr]
    assert q_values.shape == (6, 3)
    assert th.allclose(q_values, q_values[:, 2:].expand(6, 3), atol=1e-3)
    assert q_values.std(dim=0).min() > 0.1


class PaysActions(gym.Env):
    """Some ten steps, each of which pays 1 and the action."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Box(-10.0, 10.0, (1,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = int(self.np_random.integers(5))
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        return np.zeros(1, dtype=np.float32), 1.0 + float(action[0]), self.time == 10, False, {}


def test_fresh_values_give_the_advantage():
    """Â is the action minus the policy's mean, whatever is left of the episode; to 4 standard errors."""
    gamma, n_branches, deviation = 0.9, 64, 0.1
    options = {**{"branches_per_state": n_branches, "branch_length": 10, "n_states": 48}, "common_random_numbers": False}
    settings = {"n_steps": 24, "batch_size": 48, "n_critic_updates": 0, "advantage_estimator": "monte_carlo", "gamma": gamma}
    methods = {"_make_sampler": lambda self, env: make_vine(env, self.policy, self.vine_kwargs, self.n_steps, FreshValues)}
    kind: Any = type("WithFreshValues", (TRPO,), methods)
    env = make_vec_env(PaysActions, 2, seed=0)
    log_std = {"log_std_init": float(np.log(deviation))}
    model = kind(
        "MlpPolicy", env, seed=0, device="cpu", policy_kwargs=log_std, sampling="vine", vine_kwargs=options, **settings
    )
    with th.no_grad():
        mean = float(model.policy.get_distribution(th.zeros(1, 1)).distribution.mean)
    model.learn(1)
    buffer = model.rollout_buffer
    found, actions = buffer.advantages[:-1], buffer.actions[:-1, :, 0]
    error = deviation * np.sqrt((1.0 + gamma**2) / (1.0 - gamma**2) / n_branches)  # at most, of γ V̂(s′) − V̂(s)
    assert np.abs(found - (actions - mean)).max() < 4 * error < np.abs(actions - mean).max()
    assert not np.array_equal(buffer.episode_starts[:, 0], buffer.episode_starts[:, 1])
    assert np.corrcoef(found.flatten(), actions.flatten())[0, 1] > 0.6
    assert found.shape == (23, 2) and not buffer.advantages[-1].any()


def test_weights_make_up_for_the_choice_of_states(monkeypatch):
    """The weighted mean of the branch_advantages of the states chosen is that of all candidates, to 3 standard errors."""
    rng, advantages = np.random.default_rng(0), np.random.default_rng(1).normal(size=(40, 1)) ** 3
    contrast = advantages[:, 0] + 1.0

    def fake(self, policy, buffer, trunk, rng, *others):
        q_values = th.as_tensor(contrast[trunk.chosen])[:, None] * th.tensor([1.0, -1.0])
        return VineBatch(None, None, q_values, [], 0, {})

    monkeypatch.setattr(Vine, "grow", fake)
    vine = object.__new__(LargestAdvantages)
    vine.settings = replace(collector.VineSettings(), n_states=8)
    means = []
    for _ in range(3000):
        trunk = type("Trunk", (), {"chosen": np.arange(40), "states": list(range(40)), "n_envs": 1})()
        batch = vine.grow(None, type("Buffer", (), {"advantages": advantages})(), trunk, rng)
        means.append(float(batch.q_values[:, 0].mean()))
    assert abs(np.mean(means) - contrast.mean()) < 3 * np.std(means) / np.sqrt(len(means))


def test_hybrid_gradient_is_that_of_its_surrogate(monkeypatch):
    """And its surrogate is the weighted mean of the trunk's and the branches', 1e-5."""
    model = grown(Hybrid, monkeypatch, branches_per_state=3, branch_length=4)
    batch = Batch.from_samples(Samples.from_buffer(model.rollout_buffer), 1, True)
    actor, mixed = Actor(model.policy, batch.observations), model._experience.surrogate(batch, True, ALONE)
    objective = PolicyObjective(actor, batch, mixed, 0.0)
    theta, direction = objective.theta, th.randn(len(objective.gradient), generator=th.Generator().manual_seed(0))
    ahead, behind = (objective.evaluate(theta + sign * 1e-2 * direction).surrogate for sign in (1.0, -1.0))
    assert (ahead - behind) / 2e-2 == pytest.approx(float(objective.gradient @ direction), rel=0.05)
    parts = [PolicyObjective(actor, batch, part, 0.0).evaluate(theta + 0.1 * direction) for part in (mixed.path, mixed.vine)]
    expected = (1.0 - mixed.weight) * parts[0].surrogate + mixed.weight * parts[1].surrogate
    assert objective.evaluate(theta + 0.1 * direction).surrogate == pytest.approx(expected, abs=1e-5)


def test_mirrored_noise():
    """In equal states the actions of a pair lie on both sides of the policy's mean, and of every pair elsewhere."""
    model = TRPO("MlpPolicy", make_vec_env("Pendulum-v1", 4, seed=0), **{**SMALL, "sampling": "single_path"})
    model._last_obs = np.ones((4, 3), dtype=np.float32)
    evaluator = with_mirrored_noise(model, model.rollout_buffer, 0.99)
    obs = np.ones((4, 3), dtype=np.float32)
    for _ in range(3):
        actions = evaluator.act(obs)
        with th.no_grad():
            mean = model.policy.get_distribution(th.as_tensor(obs)).distribution.mean.numpy()  # type: ignore[union-attr]
        assert actions[:2] + actions[2:] == pytest.approx(2.0 * mean[:2], abs=1e-5)
        assert len(np.unique(actions)) == 4


def test_the_variants_learn_from_every_step():
    """Rows that branch are samples like others, and all are counted."""
    env = BranchingVecEnv(make_vec_env("Pendulum-v1", 4, seed=0), n_trunks=2, period=8, roots=Present())
    model = TRPO("MlpPolicy", env, **{**SMALL, "sampling": "single_path"})
    model.learn(256)
    assert model.num_timesteps == 256
    starts = model.rollout_buffer.episode_starts
    assert starts[8::8, 2:].all() and not starts[8:, :2].any()
