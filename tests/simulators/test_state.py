"""Saved simulator states: exact wherever they are given, refused where they might not be."""

import pickle
import random
import threading
import tracemalloc
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

from sb3_trpo.simulators import (
    CannotCloneError,
    CloneableEnv,
    check_clone,
    clone_state,
    copy_env,
    forgets_when_saved,
    restore_state,
)
from tests.simulator_toys import Own, Walk, assert_exact, frames, game, latest, run, some_actions

MUJOCO = [
    *("Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "HumanoidStandup-v5", "InvertedDoublePendulum-v5"),
    *("InvertedPendulum-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5", "Walker2d-v5"),
]
LIGHT = [
    *("Acrobot-v1", "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"),
    *("Blackjack-v1", latest("CliffWalking"), "FrozenLake-v1", latest("Taxi")),
]


@pytest.mark.parametrize("env_id", MUJOCO + LIGHT)
@pytest.mark.parametrize("warm_up", [0, 23])
def test_states_are_exact(env_id, warm_up):
    report = check_clone(Monitor(gym.make(env_id)), warm_up=warm_up, n_steps=120)
    assert report.exact, report
    assert report.size <= 12_000


def test_minigrid_needs_only_the_general_rule():
    pytest.importorskip("minigrid")
    assert check_clone(gym.make("MiniGrid-DoorKey-8x8-v0")).exact


ATARI = {
    "SB3": lambda name: AtariWrapper(Monitor(frames(name))),
    "SB3, sticky": lambda name: AtariWrapper(Monitor(frames(name)), action_repeat_probability=0.25),
    "gymnasium": lambda name: wrappers.FrameStackObservation(wrappers.AtariPreprocessing(frames(name)), 4),
    "ALE, sticky": game,
    "ALE, random frame skip": lambda name: game(name, frameskip=(2, 5)),
}


@pytest.mark.parametrize("stack", list(ATARI))
# Right after a reset Q*bert's and Tetris' screens are half drawn, which ALE's state does not say; Tetris has no -v4 entry
@pytest.mark.parametrize(("name", "warm_up"), [("Pong", 15), ("Qbert", 0), ("Tetris", 0), ("Breakout", 40)])
def test_atari_states_are_exact(stack, name, warm_up):
    report = check_clone(ATARI[stack](name), warm_up=warm_up, n_steps=60)
    assert report.exact, report
    assert report.size <= 250_000


WRAPPERS = {
    "time limit": lambda env: wrappers.TimeLimit(env, 30),
    "time": wrappers.TimeAwareObservation,
    "time, unflattened": lambda env: wrappers.TimeAwareObservation(env, flatten=False, normalize_time=True),
    "frame stack": lambda env: wrappers.FrameStackObservation(env, 4),
    "delay": lambda env: wrappers.DelayObservation(env, 2),
    "normalised observations": wrappers.NormalizeObservation,
    "normalised rewards": wrappers.NormalizeReward,
    "statistics": wrappers.RecordEpisodeStatistics,
    "clipped actions": wrappers.ClipAction,
    "rescaled actions": lambda env: wrappers.RescaleAction(env, -2.0, 2.0),
    "clipped rewards": lambda env: wrappers.ClipReward(env, -1.0, 1.0),
    "a lambda": lambda env: wrappers.TransformReward(env, lambda reward: 2.0 * reward),
    "sticky actions": lambda env: wrappers.StickyAction(env, 0.25),
    "max and skip": lambda env: wrappers.MaxAndSkipObservation(env, 2),
    "dtype": lambda env: wrappers.DtypeObservation(env, np.float32),
    "several": lambda env: Monitor(wrappers.NormalizeReward(wrappers.FrameStackObservation(wrappers.ClipAction(env), 2))),
}


@pytest.mark.parametrize("wrapper", list(WRAPPERS))
def test_wrappers_are_copied_with_their_state(wrapper):
    report = check_clone(WRAPPERS[wrapper](gym.make("Hopper-v5")), n_steps=120)
    assert report.exact, report


@pytest.mark.parametrize("make", [lambda: gym.make("Hopper-v5"), lambda: ATARI["SB3, sticky"]("Pong")])
def test_saving_leaves_the_original_alone(make):
    plain, watched = make(), make()
    actions = some_actions(plain)
    for env in (plain, watched):
        env.reset(seed=3)
    expected = run(plain, actions)
    actual = []
    for action in actions:
        clone_state(watched)
        actual += run(watched, [action])
    assert actual == expected


def test_a_state_can_be_restored_again_and_again():
    env = Monitor(wrappers.NormalizeObservation(gym.make("Hopper-v5")))
    env.reset(seed=0)
    actions = some_actions(env)
    run(env, actions[:5])
    state = clone_state(env)
    first = run(env, actions)
    for _ in range(3):
        restore_state(env, state)
        assert run(env, actions) == first


def test_a_state_is_restored_in_an_instance_that_was_never_reset():
    source, target = ATARI["SB3, sticky"]("Pong"), ATARI["SB3, sticky"]("Pong")
    source.reset(seed=1)
    actions = some_actions(source)
    restore_state(target, clone_state(source))
    assert run(target, actions) == run(source, actions)


def test_the_monitors_file_stays_with_the_original(tmp_path):
    env = Monitor(wrappers.TimeLimit(Walk(), 5), str(tmp_path / "log"))
    env.reset(seed=0)
    copy = copy_env(env)
    before = (tmp_path / "log.monitor.csv").read_text()
    run(copy, [1] * 20)
    restore_state(env, clone_state(copy))
    assert (tmp_path / "log.monitor.csv").read_text() == before
    run(env, [1] * 5)
    env.close()
    assert (tmp_path / "log.monitor.csv").read_text() != before
    assert copy.get_episode_lengths() == [5, 5, 5, 5]


class OwnThread(Own):
    """What would be refused does not matter where the environment answers for itself; its wrappers are still ours."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> "OwnThread":
        return OwnThread()


@pytest.mark.parametrize("env", [Own, OwnThread, lambda: CloneableEnv(Walk())])
def test_an_environments_own_methods_are_used(env):
    assert check_clone(wrappers.TimeLimit(env(), 40)).exact


# What a thorough copy must keep together


class Aliases(Walk):
    """One array under two names, a part of it under a third, and a queue of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = np.zeros(4)
        self.part = self.first[1:3]
        self.queue = deque([self.first], maxlen=3)
        self.mine = random.Random(3)

    def noise(self) -> float:
        self.first[2] += self.mine.random()
        self.queue.append(self.queue[-1])
        return self.second[2] + self.part[1] + self.queue[0][2]


class Listener(gym.Wrapper):
    """Holds an array of the environment inside, and one of its methods."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.heard, self.ask = env.unwrapped.first, env.unwrapped.noise

    def step(self, action: int) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs + self.heard[2], reward + self.ask(), *rest


def test_what_is_shared_stays_shared():
    assert check_clone(Aliases()).exact
    assert check_clone(Listener(Aliases())).exact


def counting(offset: np.ndarray) -> Any:
    count = 0
    seen: list[float] = []

    def transform(reward: float) -> float:
        nonlocal count
        count += 1
        seen.append(reward)
        return count + float(offset.sum()) + len(seen)

    return lambda reward: transform(reward)


def test_the_variables_of_closures_are_state():
    env = wrappers.TransformReward(Walk(), counting(np.ones(2)))
    assert check_clone(env).exact
    env.reset(seed=0)
    copy = copy_env(env)
    run(copy, [1] * 10)
    assert env.step(1)[1] != copy.step(1)[1]  # the copy counts for itself


class Heavier(HopperEnv):
    """A model that every reset edits."""

    def reset_model(self) -> np.ndarray:
        self.model.body_mass[1:] *= self.np_random.uniform(0.9, 1.1)
        self.model.opt.gravity[2] = self.np_random.uniform(-11.0, -9.0)
        return super().reset_model()


def test_edits_of_the_mujoco_model_are_state():
    env = wrappers.TimeLimit(Heavier(), 15)
    assert check_clone(env).exact
    state = clone_state(env)
    mass = env.unwrapped.model.body_mass.copy()
    env.reset()
    assert not np.array_equal(env.unwrapped.model.body_mass, mass)
    restore_state(env, state)
    assert np.array_equal(env.unwrapped.model.body_mass, mass)


class Looking(HopperEnv):
    """Reads derived quantities before the step, one of them through a view."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.masses_at = self.data.subtree_com

    def step(self, action: np.ndarray) -> Any:
        before = self.masses_at[1, 0] + self.data.geom_xpos[2, 2] + self.data.qfrc_bias[3]
        obs, reward, *rest = super().step(action)
        return obs, reward + before, *rest


def test_what_an_environment_reads_before_a_step_is_state():
    assert check_clone(wrappers.TimeLimit(Looking(), 50)).exact


def test_light_environments_need_no_pickle():
    """The pickle takes several times as long as all else: SB3's usual wrappers must do without."""
    env = Monitor(gym.make("Hopper-v5"))
    env.reset(seed=0)
    run(env, some_actions(env, 40))
    assert clone_state(env).others == b""


def test_a_target_that_was_just_reset_takes_a_later_state():
    """Q*bert's first frame is half drawn, which ALE's state does not say."""
    source, target = frames("Qbert"), frames("Qbert")
    actions = some_actions(source, 60)
    source.reset(seed=0)
    run(source, actions[:25])
    target.reset(seed=1)
    restore_state(target, clone_state(source))
    assert run(target, actions) == run(source, actions)


class Chase(gym.Env):
    """What moves is one of pygame's rectangles, what draws is none of the state."""

    observation_space, action_space = spaces.Box(-1e6, 1e6, (2,)), spaces.Discrete(2)

    def __init__(self) -> None:
        pygame = pytest.importorskip("pygame")
        self.player, self.clock = pygame.Rect(0, 0, 10, 10), pygame.time.Clock()

    def reset(self, **settings: Any) -> Any:
        super().reset(**settings)
        self.player.topleft = (int(self.np_random.integers(100)), 50)
        return np.array(self.player.topleft, dtype=np.float32), {}

    def step(self, action: int) -> Any:
        self.player.move_ip(5, int(action))
        return np.array(self.player.topleft, dtype=np.float32), 0.0, False, False, {}


def test_pygames_rectangles_are_state():
    assert check_clone(Chase()).exact


class Scaled(gym.RewardWrapper):
    """Binds another function in every step, whose default differs."""

    def reward(self, reward: float) -> float:
        scale = float(self.unwrapped.np_random.integers(100))
        self.function = lambda reward, scale=scale: scale * reward
        return self.function(reward)


def test_defaults_of_functions_are_compared():
    """They stay with the instance: a state of one that has another is refused, not restored half."""
    env = Scaled(gym.make("CartPole-v1"))
    env.reset(seed=0)
    env.step(0)
    state = clone_state(env)
    restore_state(env, state)
    env.step(0)
    with pytest.raises(CannotCloneError, match=r"Scaled\.function"):
        restore_state(env, state)


def test_arguments_that_are_no_environment_or_no_state():
    env = gym.make("CartPole-v1")
    env.reset(seed=0)
    state = clone_state(env)
    for call in (lambda: restore_state(state, env), lambda: clone_state(state), lambda: copy_env(state)):
        with pytest.raises(TypeError, match="of type SimulatorState is not a gymnasium environment"):
            call()
    for wrong in (None, [state], env):
        with pytest.raises(TypeError, match=rf"of type {type(wrong).__name__} is no state: .* restore_state\(env, state\)"):
            restore_state(env, wrong)
    with pytest.raises(TypeError, match=r"sb3_trpo\.vec_env\.clone_rows"):
        clone_state(make_vec_env("CartPole-v1"))


class Table(Walk):
    """A large array that is read at every step and, if so wanted, written to, bound anew, reshaped or aliased now and then."""

    def __init__(self, changes: bool = True) -> None:
        super().__init__()
        self.changes = changes
        self.table = np.random.default_rng(0).normal(size=20_000)
        self.other: Any = None

    def step(self, action: int) -> Any:
        _, _, *rest = super().step(action)
        chance, place = self.np_random.random(), int(self.np_random.integers(20_000))
        if self.changes and chance < 0.2:
            self.table.flat[place] = self.position if chance < 0.1 else np.nan
        elif self.changes and chance < 0.3:
            self.table = self.table + 1.0
        elif self.changes and chance < 0.4:
            self.table.shape = (20_000,) if self.table.ndim == 2 else (200, 100)  # in place
        elif self.changes and chance < 0.5:
            self.other = None if self.other is self.table else self.table
        elif self.changes and chance < 0.55:
            self.other = self.table.copy()
        if self.other is not None and chance > 0.9:
            self.other.flat[place] += 1.0
        shown = [
            self.position,
            *self.table.flat[:: 20_000 // 7],
            self.table.ndim,
            0.0 if self.other is None else self.other.sum(),
        ]
        return np.array(shown), float(np.nan_to_num(self.table.flat[place])), *rest


def test_large_arrays_are_exact_however_they_change() -> None:
    assert_exact(Table)
    env, twin = Table(), Table()
    for each in (env, twin):
        each.reset(seed=0)
    states, found = [], []
    for action in some_actions(env, 60):  # many states of one array, each restored in turn and in another instance
        states.append(clone_state(env))
        found.append((action, env.step(action)))
    order = np.random.default_rng(1).permutation(60)
    for index in [*order, *order[::-1]]:
        restore_state(twin, states[index])
        action, expected = found[index]
        np.testing.assert_equal(twin.step(action), expected)


def test_what_has_not_changed_is_stored_once() -> None:
    """States of a table that stays as it is share one copy of it, and bringing them back leaves it where it is."""
    env = Table(changes=False)
    env.reset(seed=0)
    tracemalloc.start()
    states = []
    for action in some_actions(env, 50):
        states.append(clone_state(env))
        env.step(action)
    array = env.table
    del array
    before = id(env.table)
    for state in states:
        restore_state(env, state)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 3 * env.table.nbytes and id(env.table) == before
    pickled = len(pickle.dumps(states))
    assert pickled < 2 * env.table.nbytes


@pytest.mark.parametrize(("probability", "felt"), [(0.0, False), (0.25, True)])
def test_saving_is_felt_where_ales_own_actions_stick(probability: float, felt: bool):
    env = wrappers.TimeLimit(gym.make("ALE/Pong-v5", obs_type="ram", repeat_action_probability=probability), 100)
    env.reset(seed=0)
    assert forgets_when_saved(env) is felt
    assert not forgets_when_saved(gym.make("CartPole-v1"))
