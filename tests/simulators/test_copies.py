"""Environments each of which has one thing that is easily forgotten: saved, and restored wherever that can be."""

import functools
import operator
import random
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch as th
from gymnasium import spaces, wrappers
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from sb3_trpo.simulators import CannotCloneError, CloneableEnv, check_clone, clone_state, copy_env, restore_state
from tests.simulator_toys import WARM_UP, Own, Toy, Walk, assert_exact

# Other environments, and functions


class Inner(Toy):
    """An environment holds one that is not wrapped."""

    def begin(self) -> None:
        self.inner = gym.make("CartPole-v1")

    def renew(self) -> None:
        self.inner.reset(seed=int(self.np_random.integers(100)))

    def noise(self) -> float:
        obs, _, terminated, *_ = self.inner.step(1)
        if terminated:
            self.inner.reset()
        return obs[0] + self.np_random.normal()


class Second(gym.Wrapper):
    """A wrapper holds a second environment, and the first one once more."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.second, self.base = Walk(), env.unwrapped
        self.second.reset(seed=0)

    def step(self, action: int) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, reward + self.second.step(0)[1] + self.base.position, *rest


def one(number: float) -> float:
    return 1.0


def two(number: float) -> float:
    return 2.0


class Switching(Toy):
    """One function or another, found by their names."""

    def begin(self) -> None:
        self.function, self.resets = one, 0

    def renew(self) -> None:
        self.resets += 1
        self.function = (one, two)[self.resets % 2]

    def noise(self) -> float:
        return self.function(0.0)


class SwitchingInTable(Switching):
    def noise(self) -> float:
        self.table = {"a": self.function, "b": two}
        return self.table["a"](0.0) + 10.0 * self.table["b"](0.0)


class SwitchingMethods(Switching):
    def renew(self) -> None:
        self.resets += 1
        self.function = (self.half, self.whole)[self.resets % 2]

    def half(self, number: float) -> float:
        return 0.5 * self.position

    def whole(self, number: float) -> float:
        return self.np_random.normal()


class Patched(Toy):
    """A method replaced on the instance by a function that calls the method."""

    def begin(self) -> None:
        old, count = super().noise, 0

        def noise() -> float:
            nonlocal count
            count += 1
            return old() + count

        self.noise = noise  # type: ignore[method-assign]


class Mutual(Toy):
    """Functions that call one another, and share a variable."""

    def begin(self) -> None:
        count = 0

        def even(depth: int) -> int:
            nonlocal count
            count += 1
            return odd(depth - 1) if depth else count

        def odd(depth: int) -> int:
            return even(depth - 1) if depth else -count

        self.even, self.odd = even, odd

    def noise(self) -> float:
        return self.even(3) + 0.1 * self.odd(2)


# Spaces


class NewSpaces(Toy):
    """Spaces bound anew, one changed, one made in reset."""

    def begin(self) -> None:
        self.goals = spaces.Box(0.0, 1.0, (2,))

    def renew(self) -> None:
        self.action_space = spaces.Discrete(int(self.np_random.integers(2, 50)))
        self.late = self.goals
        self.goals.high[:] = self.np_random.uniform(1.0, 2.0)
        self.goals.seed(int(self.np_random.integers(9)))

    def noise(self) -> float:
        return self.action_space.n + self.late.sample().sum() + self.np_random.normal()


PARTS = {
    "sequence": lambda: spaces.Sequence(spaces.Box(0.0, 1.0, (2,))),
    "graph": lambda: spaces.Graph(spaces.Box(0.0, 1.0, (2,)), spaces.Discrete(3)),
    "tuple": lambda: spaces.Tuple((spaces.Box(0.0, 1.0, (2,)), spaces.Dict(a=spaces.Discrete(4)))),
    "one of": lambda: spaces.OneOf((spaces.Box(0.0, 1.0, (2,)), spaces.Discrete(4))),
}


class Parted(Toy):
    """Draws from a space made of spaces."""

    def __init__(self, part: str):
        self.space = PARTS[part]()
        super().__init__()

    def renew(self) -> None:
        self.space.seed(int(self.np_random.integers(9)))

    def noise(self) -> float:
        drawn = self.space.sample()
        return float(np.frombuffer(repr(drawn).encode(), dtype=np.uint8).astype(float) @ np.arange(len(repr(drawn).encode())))


class PartSeeded(Toy):
    """Only a part of a space was seeded."""

    def renew(self) -> None:
        self.space = spaces.Tuple((spaces.Discrete(1000), spaces.Discrete(1000)))
        self.space.spaces[0].seed(int(self.np_random.integers(9)))

    def noise(self) -> float:
        return float(self.space.spaces[0].sample())


class SharedSpace(Toy):
    """One space under two names, which draws from the environment's own generator."""

    def renew(self) -> None:
        self.action_space._np_random = self.np_random
        self.other = self.action_space

    def noise(self) -> float:
        return self.other.sample() + self.action_space.sample() + self.np_random.normal()


# Random generators


class Spawning(Toy):
    def renew(self) -> None:
        self.child = self.np_random.spawn(1)[0]

    def noise(self) -> float:
        if self.child.random() < 0.2:
            self.child = self.np_random.spawn(2)[1]
        return self.child.normal()


class LateSpawning(Toy):
    """Spawned for the first time after the state was saved."""

    def renew(self) -> None:
        self.steps = 0

    def noise(self) -> float:
        self.steps += 1
        return self.np_random.spawn(1)[0].normal() if self.steps > WARM_UP else 0.0


class OneSource(Toy):
    """Everything draws from one bit generator, or spawns from one seed sequence."""

    def begin(self) -> None:
        bits, self.sequence = np.random.PCG64(3), np.random.SeedSequence(4)
        self.first, self.second = np.random.Generator(bits), np.random.Generator(bits)
        self.third = np.random.default_rng(self.sequence)

    def renew(self) -> None:
        self.old = np.random.RandomState(self.np_random.bit_generator)

    def noise(self) -> float:
        spawned = np.random.default_rng(self.sequence.spawn(1)[0]).normal() + self.third.spawn(1)[0].normal()
        return self.first.normal() + self.second.normal() + self.old.normal() + self.np_random.normal() + spawned


class OldGenerators(Toy):
    def begin(self) -> None:
        self.old, self.mine = np.random.RandomState(3), random.Random(4)

    def noise(self) -> float:
        return self.old.normal() + self.mine.gauss(0.0, 1.0)


class Aliased(gym.Wrapper):
    """Uses the generator of the environment inside, which is another one for every seed."""

    def reset(self, **settings: Any) -> Any:
        result = self.env.reset(**settings)
        self.rng = self.unwrapped.np_random
        return result

    def step(self, action: int) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, reward + self.rng.normal(), *rest


class OtherKind(Toy):
    """Every episode has a generator of another kind."""

    def renew(self) -> None:
        kinds = (np.random.PCG64, np.random.Philox, np.random.SFC64)
        self.mine = np.random.Generator(kinds[self.np_random.integers(3)](int(self.np_random.integers(9))))

    def noise(self) -> float:
        return self.mine.normal()


# Containers, arrays and objects


class Shared(Toy):
    """A list, a dict, an array and a generator, each under two names."""

    def begin(self) -> None:
        self.list_a = self.list_b = [0.0]
        self.dict_a = self.dict_b = {"x": 0.0}
        self.array_a = self.array_b = np.zeros(2)
        self.rng_a = self.rng_b = np.random.default_rng(0)

    def noise(self) -> float:
        self.list_a[0] += 1.0
        self.dict_a["x"] += 0.1
        self.array_a[0] += 0.01
        return self.list_b[0] + self.dict_b["x"] + self.array_b[0] + self.rng_a.normal() + self.rng_b.normal()


class Fleeting(Toy):
    """An attribute that comes and goes, in the place of another."""

    def begin(self) -> None:
        self.a = 1

    def noise(self) -> float:
        if hasattr(self, "a"):
            del self.a
            self.b = self.np_random.normal()
            return self.b
        self.a = 2
        del self.b
        return -1.0


@dataclass(frozen=True, slots=True)
class Frozen:
    number: int


class Things(Toy):
    """Objects that copy themselves whole, or go by name."""

    def begin(self) -> None:
        self.settings, self.frozen, self.dots = types.SimpleNamespace(count=0), Frozen(3), ...
        self.module, self.bound = random, functools.partial(one, 3.0)

    def noise(self) -> float:
        self.settings.count += 1
        ok = self.module is random and self.dots is ... and self.bound() == 1.0
        return self.settings.count + self.frozen.number + 100.0 * ok


class Statistics(gym.Wrapper):
    """Reads the records of a wrapper of gymnasium's."""

    def __init__(self) -> None:
        super().__init__(wrappers.RecordEpisodeStatistics(wrappers.TimeLimit(Walk(), 5)))

    def step(self, action: int) -> Any:
        obs, reward, *rest = self.env.step(action)
        returns = self.env.return_queue
        return obs, reward + (float(np.mean(returns)) if returns else 0.0), *rest


class Table(FrozenLakeEnv):
    """Edits a table that gymnasium's own class never does."""

    def __init__(self) -> None:
        super().__init__(map_name="4x4")

    def reset(self, **settings: Any) -> Any:
        result = super().reset(**settings)
        for actions in self.P.values():
            for action in actions:
                actions[action] = [(p, s, float(self.np_random.integers(5)), t) for p, s, _, t in actions[action]]
        return result


class ListeningToOwn(gym.Wrapper):
    """Holds a generator of an environment that copies itself, and that environment."""

    def __init__(self) -> None:
        super().__init__(wrappers.TimeLimit(Own(), 30))
        self.base = self.env.unwrapped

    def reset(self, **settings: Any) -> Any:
        result = self.env.reset(**settings)
        self.rng = self.base.np_random
        return result

    def step(self, action: int) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, reward + self.base.position + self.rng.normal(), *rest


TOYS: dict[str, Callable[[], gym.Env]] = {
    **{kind.__name__: kind for kind in (Inner, Switching, SwitchingInTable, SwitchingMethods, Patched, Mutual, NewSpaces)},
    **{f"parted: {part}": functools.partial(Parted, part) for part in PARTS},
    **{kind.__name__: kind for kind in (PartSeeded, SharedSpace, Spawning, LateSpawning, OneSource, OldGenerators, OtherKind)},
    **{kind.__name__: kind for kind in (Shared, Fleeting, Things, Statistics, Table, ListeningToOwn)},
    "second": lambda: Second(wrappers.TimeLimit(Walk(), 9)),
    "aliased": lambda: Aliased(wrappers.TimeLimit(Walk(), 9)),
    "offered": lambda: CloneableEnv(Second(Walk())),
}


@pytest.mark.parametrize("toy", list(TOYS))
def test_toys_are_copied_whole(toy):
    assert_exact(TOYS[toy])


@pytest.mark.parametrize("toy", sorted(set(TOYS) - {"Statistics"}))
def test_toys_have_copies(toy):
    report = check_clone(TOYS[toy](), n_steps=30)
    assert report.exact, report


# What only an instance that has been reset has


class Late(Toy):
    def renew(self) -> None:
        factor = float(self.np_random.normal())
        self.function = lambda number: factor * number

    def noise(self) -> float:
        return self.function(self.np_random.normal())


def test_functions_made_in_reset_need_a_reset():
    assert_exact(Late, new=False)
    source = Late()
    source.reset(seed=0)
    with pytest.raises(CannotCloneError, match=r"Late\.function.*reset that once before"):
        restore_state(Late(), clone_state(source))
    restore_state(copy_env(source), clone_state(source))


class Fickle(Toy):
    """Functions that look alike under one name, not found by theirs."""

    def renew(self) -> None:
        self.number = int(self.np_random.integers(2))
        self.function = [lambda: 1.0, lambda: 2.0][self.number]


def test_another_function_in_the_place_of_the_saved_one_is_noticed():
    source, target = Fickle(), Fickle()
    source.reset(seed=0)
    seed = next(seed for seed in range(99) if target.reset(seed=seed) and target.number != source.number)
    with pytest.raises(CannotCloneError, match=r"Fickle\.function"):
        restore_state(target, clone_state(source))
    target.reset(seed=seed + 1)
    source.reset(seed=seed + 1)
    restore_state(target, clone_state(source))


def test_attributes_that_came_later_go_again():
    source, target = Walk(), Walk()
    target.later = source.sooner = 1  # type: ignore[attr-defined]
    restore_state(target, clone_state(source))
    assert not hasattr(target, "later") and target.sooner == 1  # type: ignore[attr-defined]


def test_a_copy_has_the_specification_of_the_original():
    env = gym.make("Hopper-v5", max_episode_steps=7)
    assert copy_env(env).spec == env.spec
    assert copy_env(env.unwrapped).spec == env.unwrapped.spec


def test_pictures_are_left_to_the_instance():
    env = gym.make("FrozenLake-v1", render_mode="rgb_array")
    env.reset(seed=0)
    env.render()
    assert check_clone(env, n_steps=30).exact


CONSTANTS: dict[str, Any] = {
    "device": th.device("cpu"),
    "dtype": th.float32,
    "size": th.Size([1, 2]),
    "zone": ZoneInfo("UTC"),
    "time": datetime(2020, 1, 1, tzinfo=ZoneInfo("UTC")),
    "item": operator.itemgetter(1, 2),
    "attribute": operator.attrgetter("a.b"),
    "method": operator.methodcaller("get", 1, default=2),
    "Timestamp": pd.Timestamp("2020-01-01 12:00", tz="Europe/Berlin"),
    "Timedelta": pd.Timedelta("1 day"),
    "NaT": pd.NaT,
    "Interval": pd.Interval(0, 1),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_of_common_libraries_are_copied(name: str, nested: bool) -> None:
    """Alone and among others."""
    env = Walk()
    env.kept = [CONSTANTS[name]] if nested else CONSTANTS[name]
    env.reset(seed=0)
    assert check_clone(env, n_steps=10).exact
    copied = copy_env(env).kept
    assert type(copied) is type(env.kept) and repr(copied) == repr(env.kept)
    if name in ("dtype", "zone", "NaT"):
        assert (copied[0] if nested else copied) is CONSTANTS[name]


def test_advice_begins_with_the_simplest_cure() -> None:
    env = Walk()
    env.table = pd.DataFrame({"price": [1.0]})
    env.reset(seed=0)
    with pytest.raises(CannotCloneError, match=r"table cannot be copied.*never changes, keep it in the class"):
        clone_state(env)
