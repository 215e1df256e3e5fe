"""Exploration: what it finds is really there, every step counts, and ways can be retraced."""

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from sb3_trpo.restarts import Backward, Exploration, Grid, RestartEnv, explore, record
from tests.restarts.test_backward import Corridor, corridor
from tests.simulator_toys import Walk


class Counting(gym.Wrapper):
    """How many steps it was given; not part of any state, so that restoring one does not set it back."""

    taken = 0

    def step(self, action: Any) -> Any:
        Counting.taken += 1
        return self.env.step(action)


def check(found: Exploration, env: gym.Env, start: Any = None) -> None:
    """The states on a way follow one another, and lead where they are said to."""
    trajectory = found.trajectory(env, start)
    assert trajectory.starts[0].observation.tolist() == found.beginning.observation.tolist()
    assert [one.steps for one in trajectory.starts] == list(range(trajectory.steps))
    totals = [one.total for one in trajectory.starts]
    if start is None:
        assert (trajectory.total, trajectory.steps) == (found.total, found.length)
    else:
        assert (trajectory.total, trajectory.steps) == (start.total, start.steps)
    assert totals[0] == 0.0


def test_it_finds_what_random_actions_do_not():
    Counting.taken = 0
    env = Counting(corridor())
    found = explore(env, 20_000, segment=10, until=1.0, seed=1)
    assert found.total == 1.0 and found.length >= Corridor.LENGTH and found.steps == Counting.taken < 20_000
    assert len(found.cells.starts) == Corridor.LENGTH
    check(found, env)
    assert Counting.taken == found.steps + found.length
    other = TimeLimit(Corridor(), 60)
    total = 0.0
    other.reset(seed=9)
    space = other.action_space
    space.seed(0)
    for _ in range(20_000):
        _, reward, terminated, truncated, _ = other.step(space.sample())
        total += float(reward)
        if terminated or truncated:
            other.reset()
    assert total == 0.0


def test_ways_of_noisy_environments_lead_to_their_cells_again():
    env = TimeLimit(Walk(), 200)
    found = explore(env, 2_000, Grid(2.0), segment=15, repeat=0.5, seed=0)
    assert found.steps == 2_000 and len(found.cells.starts) > 20
    check(found, TimeLimit(Walk(), 200))
    for start in found.cells.starts[::9]:
        check(found, env, start)
        found.trajectory(env, start)
        assert env.unwrapped.position == start.observation.item()  # type: ignore[attr-defined]


def test_ways_of_a_game_whose_actions_stick_lead_to_their_cells_again():
    """Saving a state makes ALE forget the last action, so it is forgotten at every step of an exploration."""
    env = gym.make("ALE/MontezumaRevenge-v5", obs_type="ram")
    found = explore(env, 1_000, lambda env, memory: tuple(memory[[3, 42, 43]] // 8), segment=30, repeat=0.8, seed=0)
    assert len(found.cells.starts) > 20
    for start in found.cells.starts[1::5]:
        check(found, env, start)
        assert np.array_equal(env.unwrapped.ale.getRAM(), start.observation)  # type: ignore[attr-defined]


class Fading(Walk):
    """Ends after a number of steps that no state has."""

    left = 1_000

    def step(self, action: Any) -> Any:
        Fading.left -= 1
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, Fading.left <= 0, truncated, info


def test_a_way_that_ends_too_early_is_no_way():
    found = explore(Fading(), 500, Grid(2.0), segment=50, seed=0)
    start = max(found.cells.starts, key=lambda start: start.steps)
    Fading.left = 2
    with pytest.raises(RuntimeError, match=f"The {start.steps} actions of the way .* in 2 steps.* led elsewhere"):
        found.trajectory(Fading(), start)


class Generous(Walk):
    """Pays more the longer the program runs."""

    paid = 0.0

    def step(self, action: Any) -> Any:
        Generous.paid += 1.0
        obs, _, *rest = super().step(action)
        return obs, Generous.paid, *rest


def test_a_way_that_earns_something_else_is_no_way():
    found = explore(Generous(), 200, Grid(2.0), segment=50, seed=0)
    with pytest.raises(RuntimeError, match="led elsewhere"):
        found.trajectory(Generous())


class Toll(Walk):
    """Every step costs something."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward - 100.0, terminated, truncated, info


def test_where_nothing_is_earned_no_way_is_the_best():
    found = explore(Toll(), 100)
    with pytest.raises(ValueError, match=r"No way has earned more than 0.*cells\.starts"):
        found.trajectory(Toll())
    start = max(found.cells.starts, key=lambda start: start.steps)
    assert found.trajectory(Toll(), start).steps == start.steps


def test_equal_seeds_explore_alike():
    runs = [explore(TimeLimit(Walk(), 50), 500, Grid(2.0), seed=seed) for seed in (5, 5, 6)]
    ways = [[(start.steps, start.total) for start in run.cells.starts] for run in runs]
    assert ways[0] == ways[1] != ways[2]


def test_actions_are_repeated_as_often_as_asked():
    """Of 2,000 actions of two kinds; the standard deviation is 0.01 at most."""
    taken: list[int] = []

    class Noting(gym.Wrapper):
        def step(self, action: Any) -> Any:
            taken.append(int(action))
            return self.env.step(action)

    for repeat in (0.0, 0.8):
        taken.clear()
        explore(Noting(Walk()), 2_000, Grid(2.0), segment=2_000, repeat=repeat)
        same = np.mean([a == b for a, b in pairwise(taken)])
        assert abs(same - (repeat + (1.0 - repeat) / 2)) < 0.05


def test_the_trajectory_feeds_the_curriculum_and_the_cells_feed_restarts():
    found = explore(corridor(), 20_000, segment=10, until=1.0, seed=1)
    for source in (Backward(found.trajectory(corridor())), deepcopy(found.cells)):
        env = RestartEnv(corridor(), source, share=1.0)
        env.reset(seed=0)
        assert "restart" in env.reset()[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, "steps=0"),
        ({"segment": 0}, "segment=0"),
        ({"repeat": 1.0}, "repeat=1.0"),
        ({"capacity": 0}, "capacity=0"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        explore(Walk(), **{"steps": 10, **arguments})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: explore("CartPole-v1", 3), "env='CartPole-v1' is of type str: give a gymnasium environment"),  # type: ignore[arg-type]
        (lambda: record("CartPole-v1", []), "env='CartPole-v1' is of type str: give a gymnasium environment"),  # type: ignore[arg-type]
        (lambda: Backward(3), r"trajectory=3 is of type int: give what sb3_trpo\.restarts\.record returns"),  # type: ignore[arg-type]
    ],
)
def test_something_else_is_refused_by_its_type(call: Callable[[], Any], words: str):
    with pytest.raises(TypeError, match=words):
        call()


def test_environments_may_write_into_their_actions() -> None:
    class Writing(gym.Wrapper):
        def step(self, action: Any) -> Any:
            action *= 0.5
            return self.env.step(action)

    env = Writing(gym.make("Pendulum-v1"))
    found = explore(env, 60, lambda env, observation: int(observation[0] * 3), segment=10, repeat=0.5)
    start = max(found.cells.starts, key=lambda start: start.steps)
    assert len(found.trajectory(env, start).starts) == start.steps
    actions = [np.array([1.0], dtype=np.float32) for _ in range(5)]
    first, second = (record(env, actions, seed=0) for _ in range(2))
    assert first.total == second.total and all(action == 1.0 for action in actions)
