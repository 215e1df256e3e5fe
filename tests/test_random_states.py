"""Random generators of environments: saved with all that draws from them, and given new streams."""

import pickle

import numpy as np
import pytest
from gymnasium import wrappers
from stable_baselines3.common.atari_wrappers import StickyActionEnv

from sb3_trpo.simulators import clone_state, reseed, restore_state
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
