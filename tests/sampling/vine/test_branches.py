"""Branches that are comparable, and a trunk that does not notice them."""

from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.policy import actions_from_noise, draw_noise, make_actor
from sb3_trpo.sampling.vine.branches import Branch, BranchRules, run_branches
from sb3_trpo.sampling.vine.envs import BranchEnvs
from sb3_trpo.simulators import copy_env
from sb3_trpo.vec_env import WrapperStages
from sb3_trpo.vec_env.rows import clone_rows
from tests.toys import ToyEnv, parameters, same
from tests.vines import SMALL, VINE, model

gym.register_envs(ale_py)


def branch_envs(env: VecEnv, rows: int = 32) -> BranchEnvs:
    return BranchEnvs([copy_env(env.unwrapped.envs[0]) for _ in range(rows)], WrapperStages(env, rows))


def pong(n_envs: int, sticky: float = 0.25) -> VecEnv:
    settings = {
        "env_kwargs": {"frameskip": 1, "repeat_action_probability": 0.0},
        "wrapper_kwargs": {"action_repeat_probability": sticky},
    }
    return VecFrameStack(make_vec_env("ALE/Pong-v5", n_envs, seed=3, wrapper_class=AtariWrapper, **settings), 4)


BRANCHED = {
    "Hopper": (lambda: VecNormalize(make_vec_env("Hopper-v5", 1, seed=0)), "MlpPolicy", {}),
    "Hopper, gSDE": (lambda: make_vec_env("Hopper-v5", 1, seed=0), "MlpPolicy", {"use_sde": True}),
    "FrozenLake": (lambda: make_vec_env("FrozenLake-v1", 1, seed=0), "MlpPolicy", {}),
    "Pong": (lambda: pong(1), "CnnPolicy", {"policy_kwargs": None}),
}


@pytest.mark.parametrize("case", list(BRANCHED))
def test_equal_actions_give_bit_equal_branches_wherever_they_run(case):
    make, policy, settings = BRANCHED[case]
    trpo = model(make(), policy, **settings)
    trpo.learn(1)
    env, rng = trpo.env, np.random.default_rng(0)
    trpo.policy.set_training_mode(False)
    env.reset()
    states = []
    for _ in range(5):
        states += clone_rows(env)
        env.step(np.array([env.action_space.sample()]))
    noise = [draw_noise(trpo.policy, rng, (5,)) for _ in states]
    first = [np.array(trpo.action_space.sample()) for _ in states]
    order = rng.permutation(np.repeat(np.arange(5), 20))
    envs = branch_envs(env)
    branches = [Branch(states[n], first[n], noise[n]) for n in order]
    rules = BranchRules(length=6, gamma=0.9, bootstrap=True, hold=1)
    returns = run_branches(trpo.policy, envs, branches, rules).returns
    for n in range(5):
        assert len(set(returns[order == n])) == 1
    assert len(set(returns)) > 1
    alone = run_branches(trpo.policy, envs, [branches[7]], rules).returns
    assert alone[0] == returns[7]


@pytest.mark.parametrize("units", [64, 256])
@pytest.mark.parametrize("env_id", ["Hopper-v5", "CartPole-v1"])
def test_the_action_of_a_row_does_not_depend_on_its_place(env_id, units):
    """Moved round by any number of rows, bit for bit; and one by one, up to rounding."""
    policy = TRPO("MlpPolicy", env_id, seed=0, device="cpu", policy_kwargs={"net_arch": [units, units]}).policy
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(32, *policy.observation_space.shape)).astype(np.float32)
    with th.no_grad():
        noise = draw_noise(policy, rng, (32,))
        act = make_actor(policy, obs, noise)
        actions = act(obs, noise, None)
        for places in range(1, 32):
            assert np.array_equal(
                act(np.roll(obs, places, axis=0), np.roll(noise, places, axis=0), None), np.roll(actions, places, axis=0)
            )
        alone = [
            actions_from_noise(policy, th.as_tensor(obs[i : i + 1]).float(), noise[i : i + 1]).numpy()[0] for i in range(32)
        ]
    assert np.allclose(actions, alone, atol=1e-5)


def test_returns_are_those_of_the_environment_itself():
    """Rolled out by hand: rewards discounted, the critic's value where the branch was cut, nothing after termination."""
    trpo = model(make_vec_env("CartPole-v1", 1, seed=0))
    trpo.learn(1)
    env, policy = trpo.env, trpo.policy
    policy.set_training_mode(False)
    env.reset()
    (state,) = clone_rows(env)
    noise = draw_noise(policy, np.random.default_rng(1), (29,))
    for length in (3, 30):
        branches = [Branch(state, np.array(action), noise) for action in (0, 1)]
        rules = BranchRules(length=length, gamma=0.9, bootstrap=True, hold=1)
        outcomes = run_branches(policy, branch_envs(env), branches, rules)
        for action in (0, 1):
            inner = copy_env(env.unwrapped.envs[0])
            chosen, expected, terminated = action, 0.0, False
            for step in range(length):
                obs, reward, terminated, _, _ = inner.step(chosen)
                expected += 0.9**step * reward
                if terminated:
                    break
                tensor = th.as_tensor(obs[None])
                chosen = int(actions_from_noise(policy, tensor, noise[step][None])[0]) if step < length - 1 else 0
            if not terminated:
                expected += 0.9**length * float(policy.predict_values(tensor))
            assert outcomes.returns[action] == pytest.approx(expected, rel=1e-6)
            assert outcomes.lengths[action] == step + 1 and outcomes.terminated[action] == terminated


@pytest.mark.parametrize("space", [spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(4)], ids=["Gaussian", "categorical"])
def test_the_fast_actor_does_what_the_policy_does(space, monkeypatch):
    """Without the fast actor's help: the policy's own mean + σ ε, and the category with the largest p/q."""
    policy = TRPO("MlpPolicy", ToyEnv(space), **SMALL).policy
    th.nn.init.normal_(policy.action_net.weight)
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(32, 4)).astype(np.float32)
    noise = draw_noise(policy, rng, (32,))
    act = make_actor(policy, obs, noise)
    monkeypatch.setattr(policy, "get_distribution", None)
    actions = act(obs, noise, None)
    monkeypatch.undo()
    inner = policy.get_distribution(th.as_tensor(obs)).distribution
    if isinstance(space, spaces.Box):
        expected = (inner.mean + inner.stddev * th.as_tensor(noise)).detach().numpy()
        np.testing.assert_allclose(actions, expected, atol=1e-5)
    else:
        np.testing.assert_array_equal(actions, (inner.probs.detach().numpy() / noise).argmax(axis=1))


def test_common_random_numbers_can_be_turned_off():
    spreads = []
    for common in (True, False):
        trpo = model("Swimmer-v5", vine_kwargs={"n_states": 32, "branches_per_state": 4, "branch_length": 20,
                                                "bootstrap": False, "common_random_numbers": common})  # fmt: skip
        trpo.learn(1)
        spreads.append(float(trpo._experience.q_values.std(dim=1).mean()))
    assert spreads[0] < spreads[1] / 1.5  # measured: less than half


def rollouts(env: VecEnv, policy: str, iterations: int, **settings: Any) -> list[dict[str, np.ndarray]]:
    """What the buffer holds after each iteration of a policy that stays as it is."""
    trpo = TRPO(policy, env, **{**SMALL, "n_steps": 16, "batch_size": 16, **settings})
    kept: list[dict[str, np.ndarray]] = []

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            buffer = self.model.rollout_buffer
            names = ("observations", "actions", "rewards", "values", "advantages", "episode_starts")
            kept.append({name: np.array(getattr(buffer, name)) for name in names})

    trpo.train = lambda: None
    for _ in range(iterations):
        trpo.learn(1, callback=Keep(), reset_num_timesteps=False)
    return kept


TRUNKS = {
    "Hopper": (lambda: VecNormalize(make_vec_env("Hopper-v5", 2, seed=3)), "MlpPolicy", {}),
    "Pong, sticky": (lambda: pong(2), "CnnPolicy", {"policy_kwargs": None}),
    "gSDE": (lambda: make_vec_env("Pendulum-v1", 2, seed=3), "MlpPolicy", {"use_sde": True, "sde_sample_freq": 4}),
}


@pytest.mark.parametrize("case", list(TRUNKS))
def test_the_trunk_goes_on_as_if_there_had_been_no_branches(case):
    make, policy, settings = TRUNKS[case]
    without = rollouts(make(), policy, 10, **settings)
    with_branches = rollouts(make(), policy, 10, sampling="vine", vine_kwargs=VINE, **settings)
    for left, right in zip(without, with_branches, strict=True):
        for name, values in left.items():
            assert np.array_equal(values, right[name]), name


def test_running_statistics_see_the_trunk_only(tmp_path):
    models = []
    for sampling in ("single_path", "vine"):
        folder = tmp_path / sampling
        env = VecNormalize(make_vec_env("Hopper-v5", 2, seed=0, monitor_dir=str(folder)))
        trpo = TRPO("MlpPolicy", env, **{**SMALL, "n_steps": 64}, sampling=sampling)
        trpo.learn(1)
        models.append((trpo, [len(path.read_text().splitlines()) for path in sorted(folder.iterdir())]))
    (single, lines), (vine, other_lines) = models
    assert vine.num_timesteps > single.num_timesteps == 128
    assert lines == other_lines and lines[0] > 3
    assert [dict(info, t=0) for info in single.ep_info_buffer] == [dict(info, t=0) for info in vine.ep_info_buffer]
    for name in ("obs_rms", "ret_rms"):
        left, right = getattr(single.env, name), getattr(vine.env, name)
        assert np.array_equal(left.mean, right.mean) and np.array_equal(left.var, right.var) and left.count == right.count


@pytest.mark.parametrize("env_id", ["Hopper-v5", "FrozenLake-v1"])
def test_a_seed_fixes_the_run(env_id):
    runs = []
    for _ in range(2):
        trpo = model(make_vec_env(env_id, 2, seed=5))
        trpo.learn(300)
        runs.append(parameters(trpo))
        np.random.rand(3), th.rand(3)  # whatever happens elsewhere
    assert same(*runs)
