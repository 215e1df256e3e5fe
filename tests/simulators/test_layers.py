"""Environments that hold another one, or a simulator in an object of their own, as an attribute: these are layers, too."""

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils import EzPickle

from sb3_trpo.simulators import CannotCloneError, check_clone, clone_state, copy_env, reseed, restore_state
from tests.simulator_toys import STEPS, Walk, assert_exact, outputs, some_actions

PENDULUM = """<mujoco><option timestep="0.01"/><worldbody><body><joint name="j" type="hinge" axis="0 1 0" damping="0.1"/>
<geom type="capsule" size="0.02" fromto="0 0 0 0.3 0 0.2"/></body></worldbody>
<actuator><motor joint="j"/></actuator></mujoco>"""


class Holder(gym.Env):
    """Plays a MuJoCo task that it holds, and moves its goal."""

    def __init__(self) -> None:
        self.task = gym.make("Reacher-v5")
        self.action_space, self.observation_space = self.task.action_space, self.task.observation_space
        self.bonus = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bonus = self.np_random.normal(size=2)
        return self.task.reset(seed=int(self.np_random.integers(1000)))

    def step(self, action):
        observation, reward, terminated, truncated, info = self.task.step(action)
        self.bonus = self.bonus + self.np_random.normal(size=2)
        self.task.unwrapped.model.opt.timestep = 0.01 + 0.001 * self.np_random.random()
        return observation, float(reward + self.bonus.sum()), terminated, truncated, info


class Remade(Holder):
    """Makes its task anew in every reset."""

    def reset(self, *, seed=None, options=None):
        self.task = gym.make("Reacher-v5")
        return super().reset(seed=seed)


class Physics:
    """A simulator in a class of the user's own, which refers to its environment."""

    def __init__(self, env):
        self.env, self.time = env, 0.0
        self.model = mujoco.MjModel.from_xml_string(PENDULUM)
        self.data = mujoco.MjData(self.model)
        self.angle = self.data.qpos  # looks into the simulator's memory


class Engine:
    def __init__(self, env):
        self.physics = Physics(env)


class Built(gym.Env, EzPickle):
    """Holds an object that holds a simulator."""

    def __init__(self, strength: float = 1.0) -> None:
        EzPickle.__init__(self, strength)
        self.strength = strength
        self.action_space, self.observation_space = spaces.Box(-1, 1, (1,)), spaces.Box(-9, 9, (2,), dtype=np.float64)
        self.engine = Engine(self)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        physics = self.engine.physics
        mujoco.mj_resetData(physics.model, physics.data)
        physics.data.qpos[:] = self.np_random.normal(size=1)
        physics.time = 0.0
        return np.concatenate([physics.angle, physics.data.qvel]), {}

    def step(self, action):
        physics = self.engine.physics
        physics.data.ctrl[:] = self.strength * action + 0.1 * self.np_random.normal()
        mujoco.mj_step(physics.model, physics.data)
        physics.time += 0.01
        observation = np.concatenate([physics.angle, physics.data.qvel])
        return observation, physics.env.engine.physics.time, False, physics.time > 0.3, {}


class Bare(Built):
    """The same without the arguments that a second instance needs."""

    def __init__(self) -> None:
        super().__init__()
        del self._ezpickle_args


class Swapping(gym.Env):
    """Holds a Python environment, another one in every reset: an object like any other."""

    action_space, observation_space = spaces.Discrete(2), Walk.observation_space

    def __init__(self) -> None:
        self.task: gym.Env = Walk()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.task = Walk() if self.np_random.random() < 0.5 else gym.wrappers.TimeLimit(Walk(), 10)
        return self.task.reset(seed=int(self.np_random.integers(100)))

    def step(self, action):
        return self.task.step(action)


@pytest.mark.parametrize("kind", [Holder, Remade, Built, Swapping])
def test_states_are_exact(kind):
    assert_exact(kind, new=kind is not Swapping)
    report = check_clone(gym.wrappers.TimeLimit(kind(), 25))
    assert report.exact, report


def test_copies_go_their_own_way():
    for kind in (Holder, Built):
        env = kind()
        env.reset(seed=0)
        copy = copy_env(env)
        state = clone_state(env)
        expected = outputs(copy, some_actions(env, STEPS))
        np.testing.assert_equal(clone_state(env).names, state.names)
        np.testing.assert_equal(outputs(env, some_actions(env, STEPS)), expected)
    assert copy.engine.physics.env is copy and copy.engine.physics.angle.base is not env.engine.physics.angle.base


def test_reseeding_reaches_what_is_held():
    env = Holder()
    env.reset(seed=0)
    state, actions = clone_state(env), some_actions(env, 5)

    def starts(seed: int) -> list[float]:
        restore_state(env, reseed(state, seed))
        assert env.task.unwrapped._np_random is not None
        return [env.task.reset()[0].sum() for _ in actions]

    assert starts(1) == starts(1) != starts(2)


def test_layers_that_are_held_have_names():
    env = Built()
    env.reset(seed=0)
    assert [name.rpartition(".")[2] for name in clone_state(env).names] == ["Built", "Engine", "Physics"]
    other = Holder()
    with pytest.raises(ValueError, match=r"Built < .*Engine < .*Physics and cannot be restored"):
        restore_state(other, clone_state(env))


def test_what_cannot_be_made_twice_is_named():
    env = Bare()
    env.reset(seed=0)
    with pytest.raises(CannotCloneError, match="Bare cannot be copied: no second instance"):
        copy_env(env)


@pytest.mark.parametrize("name", ["PointMaze_UMaze-v3", "AntMaze_UMaze-v4", "AntMaze_Medium_Diverse_GR-v5"])
def test_mazes_are_exact(name):
    pytest.importorskip("gymnasium_robotics")
    report = check_clone(gym.make(f"gymnasium_robotics:{name}"), n_steps=30)
    assert report.exact, report
