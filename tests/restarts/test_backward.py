"""Trajectories: recorded exactly; and the curriculum that goes back along one."""

import pickle
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_trpo import TRPO
from sb3_trpo.restarts import Backward, RestartEnv, record
from tests.simulator_toys import Walk


class Corridor(gym.Env):
    """In every place one of three actions leads on, the others back to the start; a reward of 1 at the end."""

    LENGTH = 16
    observation_space = spaces.Box(0.0, 1.0, (LENGTH,))
    action_space = spaces.Discrete(3)

    def _observe(self) -> np.ndarray:
        return np.eye(self.LENGTH, dtype=np.float32)[self.place]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place = self.place + 1 if action == self.place % 3 else 0
        arrived = self.place == self.LENGTH
        return self._observe() if not arrived else np.zeros(self.LENGTH, np.float32), float(arrived), arrived, False, {}


def corridor() -> gym.Env:
    return TimeLimit(Corridor(), 60)


RIGHT = [place % 3 for place in range(Corridor.LENGTH)]


def test_a_recorded_trajectory_is_the_episode_with_its_states():
    env = TimeLimit(Walk(), 30)
    actions = [number % 2 for number in range(40)]
    trajectory = record(env, actions, seed=3)
    env.reset(seed=3)
    rewards, seen = [], []
    for action in actions[:30]:
        seen.append(env.unwrapped.position)  # type: ignore[attr-defined]
        rewards.append(env.step(action)[1])
    assert trajectory.steps == len(trajectory.starts) == 30  # the time limit's
    assert [start.observation.item() for start in trajectory.starts] == seen
    assert [start.steps for start in trajectory.starts] == list(range(30))
    assert trajectory.total == sum(rewards)
    other = TimeLimit(Walk(), 30)
    for start in pickle.loads(pickle.dumps(trajectory.starts[::7])):
        assert start.restore(other, None).item() == start.observation.item()
        assert [other.step(action)[1] for action in actions[start.steps : 30]] == rewards[start.steps :]
        assert start.total == sum(rewards[: start.steps])


def play(source: Backward, rates: dict[int, float], rng: np.random.Generator, moves: int) -> list[int]:
    """Positions over time, where an episode from each succeeds with its own probability (1 where none is given)."""
    positions = [source.position]
    for _ in range(moves):
        for _ in range(source.episodes):
            start = source.choose(rng)
            if start is None:
                return positions
            assert source.position <= start.steps < source.position + source.window
            source.ended(start, 1.0 if rng.random() < rates.get(source.position, 1.0) else 0.0)
        positions.append(source.position)
    return positions


def trajectory() -> Any:
    return record(corridor(), RIGHT, seed=0)


def test_it_goes_back_by_longer_and_longer_strides_and_ends_at_the_start():
    found = record(TimeLimit(Walk(), 100), [1] * 100, seed=0)
    found = found._replace(starts=[start._replace(total=0.0) for start in found.starts], total=1.0)
    source, rng = Backward(found, window=3), np.random.default_rng(0)
    positions = play(source, {}, rng, 100)
    assert positions == [99, 98, 96, 92, 84, 74, 64, 54, 44, 34, 24, 14, 4, 0, 0]
    assert source.done and source.choose(rng) is None


def test_it_waits_where_some_succeed_and_goes_forward_where_none_does():
    rng = np.random.default_rng(0)
    some = Backward(trajectory(), success_rate=0.9, episodes=50)
    assert set(play(some, {15: 0.5}, rng, 5)) == {15}
    assert play(Backward(trajectory()), {12: 0.0}, rng, 6) == [15, 14, 13, 12, 13, 12, 13]
    assert play(Backward(trajectory()), {15: 0.0}, rng, 3) == [15] * 4


@pytest.mark.parametrize(("earned", "succeeds"), [(1.0, True), (0.91, True), (0.89, False), (-1.0, False)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_success_is_what_the_trajectory_earned_less_a_tolerance(earned: float, succeeds: bool, sign: float):
    """Of -2, at least -2.2."""
    found = trajectory()
    source = Backward(found._replace(total=5.0 + 2.0 * sign, starts=[start._replace(total=5.0) for start in found.starts]))
    source.ended(found.starts[-1]._replace(total=5.0), 2.0 * sign - 2.0 * (1.0 - earned))
    assert source.results == [succeeds]


def test_results_from_elsewhere_do_not_count():
    source = Backward(found := trajectory(), window=2)
    source.position = 10
    for place in (9, 12, 15):
        source.ended(found.starts[place], 1.0)
    assert source.results == []
    source.ended(found.starts[11], 1.0)
    assert source.results == [True]


def test_state_brings_it_back():
    source, rng = Backward(trajectory()), np.random.default_rng(0)
    play(source, {}, rng, 2)
    source.ended(source.starts[source.position], 0.0)
    state, before = pickle.loads(pickle.dumps(source.clone_state())), deepcopy(vars(source))
    play(source, {}, rng, 3)
    source.restore_state(state)
    for name in ("position", "stride", "done", "results"):
        assert getattr(source, name) == before[name]


class Costly(Corridor):
    """Every step costs 1, so that an episode is cheaper the earlier it is cut."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, -1.0, terminated, truncated, info


def test_a_cut_episode_has_failed_whatever_it_saved():
    source = Backward(record(TimeLimit(Costly(), 600), RIGHT, seed=0), tolerance=1e6, lag=0)
    env = RestartEnv(TimeLimit(Costly(), 600), source, share=1.0)
    env.reset(seed=0)
    for _ in range(3):
        env.reset()
        while not any(env.step(2)[2:4]):
            pass
    assert source.results == [False] * 3


def test_nothing_is_cut_if_the_trajectory_did_not_end_its_episode():
    source = Backward(record(corridor(), RIGHT[:5], seed=0))
    assert source.cut_after(source.starts[0]) == np.inf


def test_the_state_of_the_wrapper_has_the_step_to_cut_at():
    env = RestartEnv(corridor(), Backward(record(corridor(), RIGHT, seed=0), lag=3), share=1.0)
    env.reset(seed=0)
    env.reset()
    state, other = env.clone_state(), RestartEnv(corridor(), Backward(trajectory()), share=1.0)
    other.reset(seed=0)
    other.restore_state(state)
    steps = state.own["_steps"]
    while not any(other.step(2)[2:4]):
        steps += 1
    assert steps + 1 == Corridor.LENGTH + 3


@pytest.mark.parametrize("lag", [0, 7, None])
def test_an_episode_that_falls_behind_is_cut(lag: int | None):
    """And counts as failed; one from the true start is not cut."""
    source = Backward(record(corridor(), RIGHT, seed=0), lag=lag)
    env = RestartEnv(corridor(), source, share=1.0)
    _, info = env.reset(seed=0)
    for expected in (60, 60 if lag is None else Corridor.LENGTH + lag):  # the environment's limit; the one of the lag
        steps, over = info.get("restart", {"steps": 0})["steps"], False
        while not over:
            _, _, terminated, over, info = env.step(2)
            steps += 1
        assert steps == expected and not terminated
        _, info = env.reset()
    assert source.results == [False]


def test_a_policy_learns_from_the_end_what_it_does_not_learn_from_the_start():
    """At random an episode arrives with a probability below 3 · 10⁻⁶."""

    source = Backward(trajectory())
    env = DummyVecEnv([lambda: RestartEnv(corridor(), source, 0.9)] * 4)
    model = TRPO("MlpPolicy", env, n_steps=256, target_kl=0.05, seed=0, device="cpu")
    model.learn(40_000, callback=lambda *_: not source.done)
    assert source.done  # a fifth of the episodes from the first state arrive
    assert model.num_timesteps < 40_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"trajectory": record(corridor(), [])}, "no states"),
        ({"success_rate": 0.0}, "success_rate=0.0"),
        ({"episodes": 0}, "episodes=0"),
        ({"window": 0}, "window=0"),
        ({"tolerance": -1.0}, "tolerance=-1.0"),
        ({"lag": -1}, "lag=-1"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        Backward(**{"trajectory": trajectory(), **arguments})
