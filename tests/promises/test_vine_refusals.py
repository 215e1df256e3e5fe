"""What the vine refuses, and how it says so."""

import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_trpo import TRPO
from sb3_trpo.sampling import VineSettings
from sb3_trpo.simulators import CloneableEnv
from tests.toys import ToyEnv, parameters, same
from tests.vines import VINE, model


class Global(ToyEnv):
    def _observe(self) -> Any:
        self.context = np.random.uniform(-1.0, 1.0, 4)
        return self.context.astype(np.float32)


class Streaming(ToyEnv):
    def reset(self, **kwargs: Any) -> Any:
        self.stream = (number for number in range(10))
        return super().reset(**kwargs)


@pytest.mark.parametrize(("env", "what"), [(Global, "global random generator"), (Streaming, "Streaming.stream")])
def test_what_cannot_be_copied_is_refused_before_training(env, what):
    trpo = model(env())
    with pytest.raises(ValueError, match="clone_state") as error:
        trpo.learn(1000)
    assert what in str(error.value)
    assert trpo.num_timesteps == 0


def test_what_cannot_be_copied_in_another_process_is_refused_as_here():
    """And its processes go on."""
    env = SubprocVecEnv([lambda: CloneableEnv(Streaming())] * 2, start_method="fork")
    try:
        with pytest.raises(ValueError, match=r"Streaming\.stream cannot be copied"):
            model(env, n_steps=16).learn(1)
        assert env.step([env.action_space.sample()] * 2)[1].shape == (2,)
    finally:
        env.close()


def test_environments_that_differ_are_refused():
    env = DummyVecEnv([lambda: gym.make("Pendulum-v1"), lambda: Monitor(gym.make("Pendulum-v1"))])
    with pytest.raises(ValueError, match="Build all of them the same way"):
        model(env, n_steps=16).learn(1)


def _shaped(function: Any) -> gym.Env:
    return gym.wrappers.TransformReward(gym.make("Pendulum-v1"), function)


def test_environments_that_differ_in_what_stays_with_them_are_refused():
    functions = [lambda reward, scale=scale: scale * reward for scale in (1.0, 3.0)]
    with pytest.raises(ValueError, match="another"):
        model(DummyVecEnv([lambda function=function: _shaped(function) for function in functions]), n_steps=16).learn(1)


@pytest.mark.parametrize("scales", [(2.0, 2.0), (1.0, 100.0)], ids=["alike", "in what a state has"])
def test_functions_without_names_are_no_difference(scales):
    """Variables of a closure are part of the state: branches are worth what their own environment pays."""
    env = DummyVecEnv([lambda scale=scale: _shaped(lambda reward: scale * reward) for scale in scales])
    trpo = TRPO("MlpPolicy", env, n_steps=64, batch_size=64, sampling="vine", seed=0, device="cpu", gamma=0.0)
    trpo.learn(1)
    assert trpo.num_timesteps > 128


class Odd(DiagGaussianDistribution):
    pass


def test_distributions_of_others_are_refused():
    trpo = model("Pendulum-v1")
    trpo.policy.action_dist = Odd(1)
    with pytest.raises(TypeError, match="Odd from noise that branches share"):
        trpo.learn(1)


class Poisonous(gym.Wrapper):
    """Rewards of copies are NaN."""

    original: Any = None

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, (reward if self is Poisonous.original else float("nan")), *rest


def test_nan_in_a_branch_reaches_nothing():
    Poisonous.original = Poisonous(gym.make("Pendulum-v1"))
    trpo = model(Poisonous.original)
    before = parameters(trpo)
    with pytest.warns(RuntimeWarning, match="the return of branch 0 is nan at step"):
        trpo.learn(1)
    assert same(before, parameters(trpo))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"states": 3}, ValueError, "n_states, branches_per_state, branch_length"),
        ({"n_states": 0}, ValueError, "at least 1"),
        ({"n_states": 33}, ValueError, "32 states of the trunk"),
        ({"n_states": 2.5}, TypeError, "whole number"),
        ({"branches_per_state": 1}, ValueError, "at least 2"),
        ({"branches_per_state": "some"}, ValueError, "or 'all'"),
        ({"branches_per_state": "all"}, ValueError, "needs a discrete action space"),
        ({"branch_length": 0}, ValueError, "at least 1"),
        ({"bootstrap": 1}, TypeError, "True or False"),
        ({"n_workers": -1}, ValueError, "at least 0"),
        (["n_states"], TypeError, "give a dict"),
    ],
)
def test_wrong_options_are_refused(given, error, text):
    with pytest.raises(error, match="vine_kwargs") as raised:
        model("Pendulum-v1", vine_kwargs=given)
    assert text in str(raised.value)


def test_wrong_sampling_is_refused():
    with pytest.raises(ValueError, match="single_path, vine"):
        TRPO("MlpPolicy", "Pendulum-v1", sampling="tree")
    with pytest.raises(ValueError, match='sampling="vine"'):
        TRPO("MlpPolicy", "Pendulum-v1", vine_kwargs=VINE)


def test_defaults_depend_on_the_environment():
    few = VineSettings.of(None, spaces.Discrete(2), 2048)
    assert few.branches_per_state == "all" and few.n_states == round(2048 / (2 * 10))
    many = VineSettings.of(None, spaces.Discrete(18), 2048)
    assert many.branches_per_state == 4 and many.n_states == round(2048 / (4 * 10))
    assert VineSettings.of({"branch_length": 1}, spaces.Discrete(2), 64).n_states == 32


@pytest.mark.parametrize("kind", ["recorded", "shown"])
def test_branches_are_not_for_watching(kind, tmp_path):
    """Videos would be of branches, and of the check before them."""
    env = gym.make("FrozenLake-v1", render_mode="rgb_array" if kind == "recorded" else None)
    if kind == "recorded":
        env = gym.wrappers.RecordVideo(env, str(tmp_path))
    else:
        env.unwrapped.render_mode = "human"
    trpo = model(env)
    with pytest.raises(ValueError, match="RecordVideo"):
        trpo.learn(1)
    assert not list(tmp_path.iterdir()) and trpo.num_timesteps == 0


class Timed(ToyEnv):
    """Its infos tell the time."""

    def step(self, action: Any) -> Any:
        return *super().step(action)[:-1], {"time": time.perf_counter()}


def test_infos_may_differ():
    """Branches do not look at them."""
    assert model(Timed()).learn(1).num_timesteps > 32


def test_monitors_that_forbid_early_resets():
    """What is checked before the first branch resets copies, and leaves the training environment's rule alone."""
    monitor = Monitor(gym.make("Pendulum-v1"), allow_early_resets=False)
    assert model(monitor).learn(1).num_timesteps == 32 + 6 * 3 * 5
    assert not monitor.allow_early_resets
