"""Environments with masks, and the truth about them."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from tests.toys import ToyEnv

SPACES = {
    "discrete": spaces.Discrete(5),
    "multi-discrete": spaces.MultiDiscrete([3, 2, 4]),
    "multi-binary": spaces.MultiBinary(3),
}


def sizes(space: spaces.Space) -> list[int]:
    """Outcomes of each action component."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return [int(n) for n in space.nvec] if isinstance(space, spaces.MultiDiscrete) else [2] * int(space.n)  # type: ignore


def random_masks(rng: np.random.Generator, space: spaces.Space, rows: int) -> np.ndarray:
    """Masks ``[rows, P]`` that leave one outcome of each component at least, and in a third of the cases only that one."""
    blocks = []
    for size in sizes(space):
        mask = rng.random((rows, size)) < rng.choice([0.0, 0.4, 0.8], size=(rows, 1))
        mask[np.arange(rows), rng.integers(size, size=rows)] = True
        blocks.append(mask)
    return np.concatenate(blocks, axis=1)


def everything(env: gym.Env) -> np.ndarray:
    """A mask that leaves all actions possible."""
    return np.ones(sum(sizes(env.action_space)), dtype=bool)


class MaskedToy(ToyEnv):
    """A toy with random masks, which refuses what they forbid.

    :param space: of the actions
    :param masking: given the environment, its mask; None for random ones
    """

    def __init__(self, space: spaces.Space, masking: Any = None, **kwargs: Any):
        super().__init__(space, **kwargs)
        self.masking = masking

    def _observe(self) -> Any:
        if self.masking is None:
            self.mask = random_masks(self.np_random, self.action_space, 1)[0]
        return super()._observe()

    def action_masks(self) -> Any:
        return self.mask if self.masking is None else self.masking(self)

    def step(self, action: Any) -> Any:
        begins = np.cumsum([0, *sizes(self.action_space)[:-1]])
        chosen = begins + np.atleast_1d(action).astype(int)
        if self.masking is None and not self.mask[chosen].all():
            raise AssertionError(f"{action} is masked by {self.mask}")
        return super().step(action)


class Cells(gym.Env):
    """As little as there can be to a masked environment: a random mask at every step, and the action is checked."""

    observation_space = spaces.Box(0.0, 1.0, (6,))
    action_space = spaces.Discrete(6)
    count = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self._next(), {}

    def _next(self) -> np.ndarray:
        bits = int(self.np_random.integers(1, 64))
        self.mask = np.array([bits >> place & 1 for place in range(6)], dtype=bool)
        return self.mask.astype(np.float32)

    def action_masks(self) -> np.ndarray:
        return self.mask

    def step(self, action: Any) -> Any:
        assert self.mask[action]
        type(self).count += 1
        return self._next(), float(action), bool(self.np_random.random() < 0.05), False, {}


def valid_kl(old: np.ndarray, new: np.ndarray, masks: np.ndarray, blocks: list[int]) -> np.ndarray:
    """KL(old ‖ new) over valid actions alone ``[B]``, from logits ``[B, P]`` by sums over each row's own actions."""
    totals = np.zeros(len(old))
    for begin, size in zip(np.cumsum([0, *blocks[:-1]]), blocks, strict=True):
        for row in range(len(old)):
            inside = begin + np.flatnonzero(masks[row, begin : begin + size])
            p, q = (np.exp(logits[row, inside] - logits[row, inside].max()) for logits in (old, new))
            p, q = p / p.sum(), q / q.sum()
            totals[row] += np.sum(p * np.log(p / q))
    return totals


def logits_of(policy: Any, observations: Any) -> np.ndarray:
    """A policy's logits before any mask ``[B, P]``, float64."""
    with th.no_grad():
        features = policy.extract_features(observations, policy.pi_features_extractor)
        return policy.action_net(policy.mlp_extractor.forward_actor(features)).double().numpy()
