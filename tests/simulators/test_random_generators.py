"""Random generators of environments: saved with all that draws from them, and given new streams."""

import functools
import pickle
import random
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from stable_baselines3.common.atari_wrappers import StickyActionEnv
from stable_baselines3.common.monitor import Monitor

from sb3_trpo.simulators import CannotCloneError, CloneableEnv, clone_state, reseed, restore_state
from tests.simulator_toys import Own, Walk, frames, game, run, some_actions


class Dice(Walk):
    """Draws from every kind of generator there is."""

    def __init__(self) -> None:
        super().__init__()
        self.other = {"rng": np.random.Generator(np.random.Philox(5))}
        self.third = np.random.Generator(np.random.SFC64(1))

    def noise(self) -> float:
        drawn = self.action_space.sample()
        return self.np_random.normal() + self.other["rng"].normal() + self.third.normal() + drawn


class DiceOwn(Own):
    pass


RANDOM = {
    "generators": lambda: wrappers.StickyAction(Dice(), 0.5),
    "own methods": DiceOwn,
    "SB3's sticky actions": lambda: StickyActionEnv(frames("Pong"), 0.5),
    "ALE's sticky actions": lambda: game("Pong"),
}


@pytest.mark.parametrize("kind", list(RANDOM))
def test_equal_seeds_give_equal_randomness(kind):
    env = RANDOM[kind]()
    env.reset(seed=0)
    actions = some_actions(env, 100)
    run(env, actions[:7])
    state = clone_state(env)

    def futures(seed: int | None) -> list[float]:
        restore_state(env, state if seed is None else pickle.loads(pickle.dumps(reseed(state, seed))))
        return run(env, actions)

    own, first, second = futures(None), futures(1), futures(2)
    assert futures(1) == first and futures(None) == own
    assert len({tuple(future) for future in (own, first, second)}) == 3


def test_reseeded_generators_do_not_share_a_stream():
    env = Dice()
    env.reset(seed=0)
    restore_state(env, reseed(clone_state(env), 5))
    generators = [env.np_random, env.third, env.other["rng"], env.action_space.np_random]
    draws = [np.random.Generator(type(g.bit_generator)(0)) and g.integers(2**62) for g in generators]
    assert len(set(draws)) == len(draws)


def test_a_reseeded_generator_is_not_drawn_from_the_same_seed_twice():
    states = [reseed(clone_state(Walk()), seed) for seed in (0, 1)]
    for state in states:
        env = Walk()
        restore_state(env, state)  # nothing was drawn yet: there is nothing to reseed
        assert env._np_random is None


class Old(Walk):
    """Draws from generators of other kinds, one of them spawned."""

    def __init__(self, kind: str):
        super().__init__()
        made = {"random": random.Random(3), "NumPy's old one": np.random.RandomState(3), "spawned": np.random.SeedSequence(3)}
        self.mine: Any = made[kind]

    def noise(self) -> float:
        if isinstance(self.mine, np.random.SeedSequence):
            return np.random.default_rng(self.mine.spawn(1)[0]).normal()
        return self.mine.gauss(0.0, 1.0) if isinstance(self.mine, random.Random) else self.mine.normal()


class Renamed(Own):
    """Copies itself, and has its generator under another name, too."""

    def reset(self, **settings: Any) -> Any:
        result = super().reset(**settings)
        self.rng = self.np_random
        return result

    def restore_state(self, state: Any) -> None:
        self.position = state[0]
        self.np_random.bit_generator.state = state[1].bit_generator.state

    def noise(self) -> float:
        return self.rng.normal()


OTHERS = {
    **{kind: functools.partial(Old, kind) for kind in ("random", "NumPy's old one", "spawned")},
    "under another name": Renamed,
    "inside a wrapper with own methods": lambda: Monitor(CloneableEnv(wrappers.StickyAction(Walk(), 0.5))),
}


@pytest.mark.parametrize("kind", list(OTHERS))
def test_every_generator_is_reseeded(kind):
    env = OTHERS[kind]()
    env.reset(seed=0)
    run(env, [1] * 5)
    state = clone_state(env)

    def future(seed: int) -> list[float]:
        restore_state(env, reseed(state, seed))
        return run(env, [1] * 20)

    assert future(1) == future(1) != future(2)


def test_seeds_are_whole_numbers():
    state = clone_state(Walk())
    with pytest.raises(ValueError, match="at least 0"):
        reseed(state, -1)
    with pytest.raises(TypeError):
        reseed(state, 1.5)  # type: ignore[arg-type]
    assert reseed(state, np.int64(3)).seed == 3


def test_a_generator_that_the_target_shares_is_left_alone():
    source, target = Dice(), Dice()
    for seed, env in enumerate((source, target)):
        env.reset(seed=seed)
    held = target.third
    held.random()
    expected = deepcopy(held).random()
    restore_state(target, clone_state(source))
    assert target.third is not held and held.random() == expected


def test_a_generator_of_another_kind_is_replaced():
    env = gym.make("CartPole-v1")  # in environments of gymnasium's own generators are written in place
    env.reset(seed=0)
    state = clone_state(env)
    expected = env.unwrapped.np_random.random()
    env.unwrapped.np_random = np.random.Generator(np.random.Philox(1))
    restore_state(env, state)
    assert env.unwrapped.np_random.random() == expected


@pytest.mark.parametrize("parts", [(0,), (1,), (0, 1)])
def test_the_spaces_of_gymnasiums_own_environments_draw_as_before(parts):
    def make() -> gym.Env:
        env = gym.make("CartPole-v1")
        env.unwrapped.action_space = spaces.Tuple([spaces.Discrete(1000), spaces.Sequence(spaces.Discrete(1000))])
        env.unwrapped.action_space.spaces[1].seed(4)
        return env

    source, target = make(), make()
    for part in parts:
        source.unwrapped.action_space.spaces[part].seed(3)
    restore_state(target, clone_state(source))
    for part in parts:
        drawn = [env.unwrapped.action_space.spaces[part].sample() for env in (source, target)]
        assert drawn[0] == drawn[1]
    source.unwrapped.action_space.spaces[0]._np_random = source.unwrapped.np_random
    with pytest.raises(CannotCloneError, match=r"action_space.*shared"):
        clone_state(source)
