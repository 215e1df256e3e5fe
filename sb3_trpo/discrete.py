"""Actions of discrete spaces: how many there are, all of them, some at random, and those that a mask calls possible.

A mask has a truth value for each outcome of each action component, side by side ``[P]``.
"""

from functools import cache
from inspect import signature
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

MASKS = "action_masks"  # the method of environments that gives a mask, as sb3-contrib has it


def action_dims(space: spaces.Space) -> tuple[int, ...]:
    """Outcomes of each component of a discrete action.

    :raises ValueError: for any other space
    """
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(int(size) for size in space.nvec)
    if isinstance(space, spaces.MultiBinary):
        return (2,) * int(space.n)  # type: ignore[arg-type]
    raise ValueError(
        f"There are no masks for actions in {space}: allowed are Discrete, MultiDiscrete and MultiBinary. Use TRPO, or let "
        "the environment take discrete actions."
    )


@cache
def offsets(sizes: tuple[int, ...]) -> np.ndarray:
    """Where the outcomes of each component begin in a mask ``[d]``.

    :param sizes: outcomes of each
    """
    return np.cumsum([0, *sizes[:-1]])


def all_actions(space: spaces.Space) -> np.ndarray:
    """Every action of a discrete space, the outcomes of its components ``[A, d]``."""
    return np.array(list(product(*map(range, action_dims(space)))))


def random_actions(
    space: spaces.Space, rng: np.random.Generator, shape: tuple[int, int], masks: np.ndarray | None = None
) -> np.ndarray:
    """K actions for each of N states, drawn uniformly from those that are possible there ``[N, K, d]``.

    :param shape: N and K
    :param masks: ``[N, P]``; None: all are possible
    """
    sizes = action_dims(space)
    if masks is None:
        return rng.integers(sizes, size=(*shape, len(sizes)))
    which = rng.integers(possible_counts(space, masks)[:, None], size=(*shape, len(sizes)))
    actions = np.empty_like(which)
    for component, block in enumerate(np.split(masks, offsets(sizes)[1:], axis=1)):
        ranked = np.argsort(~block, axis=1, kind="stable")  # possible ones first, in their order
        actions[..., component] = np.take_along_axis(ranked, which[..., component], axis=1)
    return actions


def possible_counts(space: spaces.Space, masks: np.ndarray) -> np.ndarray:
    """How many outcomes of each component are possible ``[N, d]``, by masks ``[N, P]``."""
    return np.add.reduceat(masks, offsets(action_dims(space)), axis=1, dtype=np.int64)


def are_possible(space: spaces.Space, actions: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Which of A actions are possible in each of N states ``[N, A]``.

    :param actions: outcomes of their components ``[A, d]``
    :param masks: ``[N, P]``
    """
    return np.logical_and.reduce(masks[:, offsets(action_dims(space)) + actions], axis=-1)


def mask_of(env: gym.Env, space: spaces.Space) -> np.ndarray | None:
    """What an environment calls possible now ``[P]``; None where it has no mask, or one that cannot be used.

    :param space: its actions
    """
    if not isinstance(space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return None
    try:
        method = env.get_wrapper_attr(MASKS)
        signature(method).bind()
    except (AttributeError, TypeError, ValueError):  # nothing of that name, or no method that can be called with nothing
        return None
    mask = np.asarray(method(), dtype=bool).reshape(-1)
    usable = mask.size == sum(action_dims(space)) and bool(possible_counts(space, mask[None]).all())
    return mask if usable else None


def draw_action(space: spaces.Space, mask: np.ndarray | None, before: Any = None) -> Any:
    """A random action.

    :param space: of the actions, with the generator to draw with
    :param mask: which are possible ``[P]``; None: all
    :param before: an action to take once more, if it is possible; None for none
    """
    start = getattr(space, "start", 0)
    if before is not None and (mask is None or mask[offsets(action_dims(space)) + np.atleast_1d(before) - start].all()):
        return before
    if mask is None:
        return space.sample()
    action = random_actions(space, space.np_random, (1, 1), mask[None])[0, 0] + start
    return action[0] if isinstance(space, spaces.Discrete) else action.astype(space.dtype)
