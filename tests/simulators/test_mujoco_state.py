"""MuJoCo environments whose own classes, wrappers or models are not left as gymnasium makes them."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

from sb3_trpo.simulators import CannotCloneError, check_clone, clone_state, copy_env, mujoco_state, restore_state
from tests.simulator_toys import assert_exact


class Randomised(gym.Wrapper):
    def reset(self, **settings: Any) -> Any:
        result = self.env.reset(**settings)
        model = self.unwrapped.model
        model.body_mass[1:] *= self.unwrapped.np_random.uniform(0.9, 1.1)
        model.stat.extent = self.unwrapped.np_random.uniform(1.0, 2.0)
        self.unwrapped.init_qpos[1] += 0.001
        return result

    def step(self, action: np.ndarray) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, reward + self.unwrapped.model.stat.extent, *rest


class Reading(gym.Wrapper):
    """Reads before the step what MuJoCo computed in the one before."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.data = env.unwrapped.data
        self.table = {"data": self.data}

    def step(self, action: np.ndarray) -> Any:
        data = self.table["data"]
        mass = data.M if hasattr(data, "M") else data.qM
        turned = data.xiquat if hasattr(data, "xiquat") else data.ximat
        before = data.geom_xpos[2, 2] + self.data.subtree_com[1, 0] + mass.sum() + data.qLD.sum() + turned.sum()
        obs, reward, *rest = self.env.step(action)
        return obs, reward + before, *rest


@pytest.mark.parametrize("wrapper", [Randomised, Reading])
def test_wrappers_may_reach_into_mujoco(wrapper):
    def make() -> gym.Env:
        env = gym.make("Hopper-v5")
        env.reset(seed=0)
        clone_state(env)  # with no other reference to it, less of it is saved
        return wrapper(gym.make("Hopper-v5"))

    assert_exact(make)
    env = gym.make("Hopper-v5")
    clone_state(env)
    assert check_clone(wrapper(env), n_steps=30).exact


class Heavier(HopperEnv):
    def __init__(self, *args: Any):
        super().__init__(*args)
        self.seen = self.data.qpos

    def reset_model(self) -> np.ndarray:
        self.model.body_mass[1:] = self.np_random.uniform(1.0, 5.0, self.model.nbody - 1)
        self.late = self.data.qvel
        return super().reset_model()

    def step(self, action: np.ndarray) -> Any:
        before = self.seen[1] + self.late[0]
        obs, reward, *rest = super().step(action)
        return obs, reward + before, *rest


def test_views_of_the_simulator_look_into_the_targets_own():
    """Also in an instance that does not have them yet."""
    assert_exact(lambda: wrappers.TimeLimit(Heavier(), 20))
    assert check_clone(wrappers.TimeLimit(Heavier(), 20), n_steps=30).exact


def test_a_model_that_goes_back_and_forth():
    env = wrappers.TimeLimit(Heavier(), 20)
    env.reset(seed=0)
    first, mass = clone_state(env), env.unwrapped.model.body_mass.copy()
    env.reset()
    second, other_mass = clone_state(env), env.unwrapped.model.body_mass.copy()
    for state, expected in ((first, mass), (second, other_mass), (first, mass)):
        restore_state(env, state)
        np.testing.assert_array_equal(env.unwrapped.model.body_mass, expected)


def test_states_of_an_edited_model_share_what_was_not_edited():
    """A file with twenty states is little larger than one with one."""
    env = wrappers.TimeLimit(Heavier(), 20)
    env.reset(seed=0)
    size, states, masses = mujoco.mj_sizeModel(env.unwrapped.model), [], []
    for _ in range(20):
        env.reset()
        states.append(clone_state(env))
        masses.append(env.unwrapped.model.body_mass.copy())
    assert len(set(map(tuple, masses))) == 20
    assert len(pickle.dumps(states)) < len(pickle.dumps(states[:1])) + 0.1 * 19 * size
    for state, mass in zip(pickle.loads(pickle.dumps(states)), masses, strict=True):
        restore_state(env, state)
        np.testing.assert_array_equal(env.unwrapped.model.body_mass, mass)


def test_states_of_a_model_edited_all_over():
    """Each keeps its own textures."""
    env = wrappers.TimeLimit(Heavier(), 20)
    env.reset(seed=0)
    textures, states = env.unwrapped.model.tex_data, []
    for shade in (10, 20, 30):
        textures[:] = shade
        states.append(clone_state(env))
    for state, shade in zip(states, (10, 20, 30), strict=True):
        restore_state(env, state)
        assert np.all(textures == shade)


@pytest.mark.parametrize("env_id", ["Reacher-v4", "Pusher-v5"])
def test_what_gymnasiums_own_environments_read_is_known(env_id):
    assert_exact(lambda: gym.make(env_id))


def test_a_copy_has_the_model_as_it_is_now():
    """Whoever made the environment may have edited its model: the copy takes the same steps."""
    env = gym.make("Hopper-v5")
    env.unwrapped.model.body_mass[1:] *= 3.0
    env.unwrapped.model.opt.gravity[2] = -3.0
    env.reset(seed=0)
    assert check_clone(env, copy_env(env)).exact and check_clone(env).exact
    assert not check_clone(env, gym.make("Hopper-v5")).exact


class Growing(HopperEnv):
    """Compiles its model anew, with one more body."""

    def reset_model(self) -> np.ndarray:
        text = Path(self.fullpath).read_text(encoding="utf-8")
        self.model = mujoco.MjModel.from_xml_string(
            text.replace("</worldbody>", "<body><geom size='0.1'/></body></worldbody>")
        )
        return self._get_obs()


def test_a_model_of_other_sizes_is_refused():
    source = Growing()
    source.reset(seed=0)
    with pytest.raises(CannotCloneError, match=r"model.*other sizes"):
        restore_state(Growing(), clone_state(source))


@pytest.mark.parametrize("size", [0, 3, 8, 21])
def test_bytes_that_differ(size: int) -> None:
    """Also those after the last eight."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = rng.integers(0, 2, (2, size), dtype=np.uint8)
        assert np.array_equal(mujoco_state._differences(a, b), np.flatnonzero(a != b))
