"""Single environments of a VecEnv saved and restored, with their rows in VecEnv wrappers."""

import pickle
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FilterObservation
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from sb3_trpo.simulators import CannotCloneError, CloneableEnv, clone_state
from sb3_trpo.vec_env import clone_rows, restore_rows
from tests.toys import DICT_OBSERVATIONS, ToyEnv

gym.register_envs(ale_py)


def hopper(n_envs: int, vec_env_cls: type[VecEnv] = DummyVecEnv, **settings: Any) -> VecEnv:
    env = make_vec_env("Hopper-v5", n_envs, seed=3, vec_env_cls=vec_env_cls, **settings)
    return VecNormalize(VecMonitor(VecFrameStack(VecCheckNan(env), 3)), training=False)


def pong(n_envs: int) -> VecEnv:
    settings = {"frameskip": 1, "repeat_action_probability": 0.25}
    env = make_vec_env("ALE/Pong-v5", n_envs, seed=3, env_kwargs=settings, wrapper_class=AtariWrapper)
    return VecTransposeImage(VecFrameStack(env, 4))


def toy(n_envs: int) -> VecEnv:
    def make() -> gym.Env:
        return FilterObservation(ToyEnv(spaces.Discrete(2), DICT_OBSERVATIONS), ["vector", "value_map"])

    env = DummyVecEnv([make] * n_envs)
    return VecNormalize(VecFrameStack(env, 2), norm_obs_keys=["vector"], training=False)


def actions_of(env: VecEnv, count: int) -> list[Any]:
    space = env.action_space
    space.seed(11)
    return [space.sample() for _ in range(count)]


def row(env: VecEnv, index: int, actions: list[Any]) -> list[Any]:
    """What one environment gives while all of them take the same actions."""
    outputs = []
    for action in actions:
        obs, rewards, dones, infos = env.step(np.array([action] * env.num_envs))
        obs = {key: value[index] for key, value in obs.items()} if isinstance(obs, dict) else {"obs": obs[index]}
        info = {key: value for key, value in infos[index].items() if key != "episode"}
        outputs.append((obs, rewards[index], dones[index], infos[index].get("episode", {}).get("r"), info))
    return outputs


def assert_same(left: Any, right: Any) -> None:
    np.testing.assert_equal(left, right)


@pytest.mark.parametrize("make", [hopper, pong, toy])
def test_a_row_goes_on_in_another_vec_env_as_in_its_own(make):
    trunk, pool = make(2), make(3)
    if isinstance(trunk, VecNormalize):  # statistics that are all environments' stay where they are: give them some
        for statistics in (trunk, pool):
            statistics.ret_rms.var = np.array(4.0)
    trunk.reset()
    pool.reset()
    actions = actions_of(trunk, 60)
    row(trunk, 1, actions[:9])
    (state,) = clone_rows(trunk, [1])
    row(pool, 0, actions[:31])
    restore_rows(pool, [state, state], [2, 0])
    expected = row(trunk, 1, actions)
    before = clone_rows(pool)
    assert_same(row(pool, 2, actions), expected)
    restore_rows(pool, before)
    assert_same(row(pool, 0, actions), expected)


def test_environments_in_other_processes_are_reached_through_the_wrapper():
    here = make_vec_env("Hopper-v5", 1, seed=5)
    # Forked: RL Zoo, which other tests import, puts a class of its own in the place of gymnasium's TimeLimit
    settings = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}}
    there = make_vec_env("Hopper-v5", 2, seed=3, wrapper_class=CloneableEnv, **settings)
    try:
        here.reset()
        there.reset()
        actions = actions_of(here, 40)
        row(there, 0, actions[:7])
        (state,) = clone_rows(there, [0])
        restore_rows(here, [state])
        restore_rows(there, [state], [1])
        for action in actions:
            obs, rewards, dones, _ = there.step(np.array([action, action]))
            assert_same(obs[0], obs[1])
            assert rewards[0] == rewards[1] and dones[0] == dones[1]
            mine, reward, done, _ = here.step(np.array([action]))
            assert_same(mine[0], obs[1])
            assert reward[0] == np.float32(rewards[1]) and done[0] == dones[1]  # DummyVecEnv rounds rewards
    finally:
        there.close()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "ALE/Pong-v5"])  # ALE has a clone_state that would leave the wrappers out
def test_environments_in_other_processes_need_the_wrapper(env_id):
    env = make_vec_env(env_id, 1, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"})
    try:
        with pytest.raises(CannotCloneError, match=r"CloneableEnv.*WorkerVecEnv, whose environments need no wrapper\.$"):
            clone_rows(env)
    finally:
        env.close()


class Unknown(VecEnvWrapper):
    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.venv.step_wait()


def test_unknown_vec_env_wrappers_are_refused_by_name():
    env = Unknown(make_vec_env("CartPole-v1"))
    with pytest.raises(ValueError, match=r"Unknown.*use a gymnasium wrapper"):
        clone_rows(env)


def test_a_row_goes_into_a_vec_env_built_the_same_way_only():
    plain, stacked = make_vec_env("CartPole-v1"), VecFrameStack(make_vec_env("CartPole-v1"), 2)
    plain.reset()
    with pytest.raises(ValueError, match="build both the same way"):
        restore_rows(stacked, clone_rows(plain))


class Keeping(DummyVecEnv):
    """May keep something for each environment."""


def test_vec_envs_of_other_kinds_are_refused():
    with pytest.raises(ValueError, match="Keeping"):
        clone_rows(Keeping([lambda: gym.make("CartPole-v1")]))


def stacked(frames: int) -> VecEnv:
    return VecFrameStack(make_vec_env("CartPole-v1", 2, seed=3), frames)


def test_nothing_is_touched_if_anything_does_not_fit():
    target, other = stacked(3), stacked(1)
    target.reset()
    other.reset()
    row(target, 0, [1, 0])
    before, (first, second), states = target.stacked_obs.stacked_obs.copy(), clone_rows(target), clone_rows(other)
    for wrong, indices, match in (
        (states, None, "build both the same way"),
        ([first, states[1]], None, "build both the same way"),
        ([first, second], [0], "2 states for 1 environments"),
    ):
        row(target, 0, [1])
        expected = pickle.dumps(clone_rows(target))
        with pytest.raises(ValueError, match=match):
            restore_rows(target, wrong, indices)
        assert pickle.dumps(clone_rows(target)) == expected
    restore_rows(target, [first, second])
    assert_same(target.stacked_obs.stacked_obs, before)


def test_arguments_in_another_order_are_told_apart():
    env = make_vec_env("CartPole-v1", 2, seed=3)
    env.reset()
    states = clone_rows(env)
    expected = pickle.dumps(clone_rows(env))
    of_one = clone_state(env.envs[0])
    for call, error, words in (
        (lambda: restore_rows(env, [0, 1], states), TypeError, r"restore_rows\(env, states, indices\)"),
        (lambda: restore_rows(env, [0, 1]), TypeError, r"type int in it, which .* restore_rows\(env, states, indices\)"),
        (lambda: restore_rows(env, [of_one, of_one]), TypeError, "type SimulatorState in it, which clone_rows did not return"),
        (lambda: restore_rows(env, states[0]), TypeError, "which clone_rows did not return"),
        (lambda: restore_rows(states, env), TypeError, "first argument is of type list: give the VecEnv first"),
        (lambda: clone_rows([0], env), TypeError, "first argument is of type list: give the VecEnv first"),
        (lambda: clone_rows(env.envs[0]), TypeError, "first argument is of type Monitor: give the VecEnv first"),
        (lambda: clone_rows(env, 1), TypeError, r"indices=1 is of type int: give a sequence .* such as \[0\]"),
        (lambda: clone_rows(env, np.array([False, True])), TypeError, r"numpy\.flatnonzero\(mask\)"),
        (lambda: clone_rows(env, [0.0]), TypeError, "give whole numbers"),
        (lambda: clone_rows(env, [2]), ValueError, "no environment 2: give indices from 0 to 1"),
        (lambda: clone_rows(env, [-1]), ValueError, "no environment -1"),
    ):
        with pytest.raises(error, match=words):
            call()
    assert pickle.dumps(clone_rows(env)) == expected
    assert len(clone_rows(env, np.array([1]))) == len(clone_rows(env, (0,))) == 1


def test_states_do_not_change_with_the_frame_stack():
    env = stacked(3)
    env.reset()
    states = clone_rows(env)
    data = pickle.dumps(states)
    row(env, 0, [1, 0, 1])
    restore_rows(env, states)
    held = env.stacked_obs.stacked_obs
    row(env, 0, [1, 0, 1])
    kept = held.copy()
    restore_rows(env, states)
    assert pickle.dumps(states) == data
    assert_same(held, kept)  # what was handed out as an observation


def test_the_wrapper_for_other_processes_makes_no_difference_here():
    plain, wrapped = make_vec_env("CartPole-v1", 1, seed=3), make_vec_env("CartPole-v1", 1, seed=4, wrapper_class=CloneableEnv)
    for source, target in ((plain, wrapped), (wrapped, plain)):
        source.reset()
        target.reset()
        restore_rows(target, clone_rows(source))
        assert_same(row(target, 0, [1, 0] * 20), row(source, 0, [1, 0] * 20))


def test_returns_and_lengths_belong_to_a_row():
    env = VecMonitor(VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2), training=True))
    env.seed(0)
    env.reset()
    row(env, 0, [1, 0, 1])
    states = clone_rows(env)
    expected = [env.venv.returns.copy(), env.episode_lengths.copy(), env.episode_returns.copy()]
    row(env, 0, [1, 0])
    restore_rows(env, states[:1], [1])
    restore_rows(env, states[:1], [0])
    for values, saved in zip([env.venv.returns, env.episode_lengths, env.episode_returns], expected, strict=True):
        assert_same(values, saved[[0, 0]])
