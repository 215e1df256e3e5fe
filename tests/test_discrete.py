"""Discrete actions and masks, beside plain enumeration."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from sb3_trpo.discrete import action_dims, all_actions, are_possible, draw_action, mask_of, possible_counts, random_actions
from tests.masked import Cells, MaskedToy, random_masks, sizes


def possible_by_hand(space: spaces.Space, mask: np.ndarray) -> list[tuple[int, ...]]:
    """Every action that a mask leaves, one component after another."""
    blocks = np.split(mask, np.cumsum(sizes(space))[:-1])
    return list(product(*(np.flatnonzero(block).tolist() for block in blocks)))


def test_all_actions_and_which_are_possible(space: spaces.Space) -> None:
    actions = all_actions(space)
    assert len({tuple(action) for action in actions}) == len(actions) == np.prod(action_dims(space))
    masks = random_masks(np.random.default_rng(0), space, 50)
    for mask, row in zip(masks, are_possible(space, actions, masks), strict=True):
        assert [tuple(action) for action in actions[row]] == possible_by_hand(space, mask)
        assert np.prod(possible_counts(space, mask[None])) == row.sum()


def test_random_actions_are_uniform_over_what_is_possible(space: spaces.Space) -> None:
    """30,000 draws in each of four states: the count of every possible action is within four deviations of its mean."""
    masks = random_masks(np.random.default_rng(3), space, 4)
    drawn = random_actions(space, np.random.default_rng(1), (4, 30_000), masks)
    for mask, actions in zip(masks, drawn, strict=True):
        found, counts = np.unique(actions, axis=0, return_counts=True)
        expected = possible_by_hand(space, mask)
        assert sorted(map(tuple, found.tolist())) == expected
        p = 1 / len(expected)
        assert (np.abs(counts - 30_000 * p) <= 4 * (30_000 * p * (1 - p)) ** 0.5).all()


def test_with_all_possible_the_draws_are_those_without_masks(space: spaces.Space) -> None:
    masks = np.ones((7, sum(action_dims(space))), dtype=bool)
    pair = [random_actions(space, np.random.default_rng(2), (7, 5), given) for given in (None, masks)]
    assert np.array_equal(*pair)


def test_one_action_in_an_environment_with_masks(space: spaces.Space) -> None:
    """The environment refuses all others."""
    env = MaskedToy(space)
    env.reset(seed=0)
    actions = MaskedToy(space).action_space
    actions.seed(0)
    action, repeated = None, 0
    for _ in range(300):
        before, action = action, draw_action(actions, mask_of(env, actions), action)
        assert env.action_space.contains(action)
        repeated += before is action
        if env.step(action)[3]:
            env.reset()
    assert 20 < repeated < 280


def test_actions_that_do_not_begin_at_zero() -> None:
    class Shifted(Cells):
        action_space = spaces.Discrete(6, start=-2)

    env = Shifted()
    env.reset(seed=0)
    env.mask = np.array([0, 1, 0, 0, 1, 0], dtype=bool)
    assert {int(draw_action(env.action_space, mask_of(env, env.action_space))) for _ in range(50)} == {-1, 2}
    assert draw_action(env.action_space, env.mask, -1) == -1
    assert draw_action(env.action_space, env.mask, 0) != 0


@pytest.mark.parametrize("mask", [None, lambda: [True], lambda: [False, False], lambda player: [True, False], np.ones(2)])
def test_without_a_usable_mask_any_action_is_drawn_as_gymnasium_draws_it(mask: object) -> None:
    env = gym.make("CartPole-v1").unwrapped
    if mask is not None:
        env.action_masks = mask  # type: ignore[attr-defined]
    assert mask_of(env, env.action_space) is None
    env.action_space.seed(5)
    drawn = [draw_action(env.action_space, None) for _ in range(20)]
    env.action_space.seed(5)
    assert drawn == [env.action_space.sample() for _ in range(20)]


def test_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="no masks for actions in Box"):
        action_dims(spaces.Box(0.0, 1.0, (2,)))
