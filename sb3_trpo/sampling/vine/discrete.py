"""The actions of a discrete space: how many, all of them, some at random."""

from itertools import product

import numpy as np
from gymnasium import spaces

from sb3_trpo.policy import outcomes


def sizes(space: spaces.Space) -> list[int] | None:
    """Choices of each action component; None for a continuous space."""
    return None if isinstance(space, spaces.Box) else outcomes(space)


def as_given(actions: np.ndarray, space: spaces.Space) -> np.ndarray:
    """Actions ``[…, d]`` as the distribution gives them: a number for Discrete, floats for MultiBinary."""
    if isinstance(space, spaces.Discrete):
        return actions[..., 0]
    return actions.astype(np.float32) if isinstance(space, spaces.MultiBinary) else actions


def all_actions(space: spaces.Space) -> np.ndarray:
    """Every action of a discrete space: ``[A]`` or ``[A, d]``."""
    choices = sizes(space)
    assert choices is not None
    return as_given(np.array(list(product(*map(range, choices)))), space)


def random_actions(space: spaces.Space, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Actions of a discrete space, drawn uniformly: ``[*shape]`` or ``[*shape, d]``."""
    choices = sizes(space)
    assert choices is not None
    return as_given(rng.integers(choices, size=(*shape, len(choices))), space)
