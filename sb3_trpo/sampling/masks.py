"""Masks of actions, asked of environments and checked; those of a rollout are kept with it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.discrete import MASKS, offsets


def read_masks(given: Sequence[Any], action_dims: tuple[int, ...], whose: Callable[[int], str]) -> np.ndarray:
    """Masks as environments give them, as truth values ``[n, P]``.

    :param given: one of each environment
    :param action_dims: outcomes of each action component; P in all
    :param whose: names what gave the mask of a number, as the subject of a sentence
    :raises TypeError: for a mask that is made of other things than truth values or numbers
    :raises ValueError: for a mask of another size, or one that leaves a component of the action without an outcome
    """
    masks = np.empty((len(given), sum(action_dims)), dtype=bool)
    for index, mask in enumerate(map(np.asarray, given)):
        if mask.size != masks.shape[1]:
            raise ValueError(
                f"{whose(index)} gave an array of shape {mask.shape}: it must give {masks.shape[1]} truth "
                f"values, one for each outcome of each action component ({' + '.join(map(str, action_dims))})."
            )
        if mask.dtype.kind not in "biuf":
            raise TypeError(
                f"{whose(index)} gave {mask.tolist()!r}: it must give truth values, or numbers that stand for them."
            )
        masks[index] = mask.reshape(-1)
    possible = np.logical_or.reduceat(masks, offsets(action_dims), axis=1)
    if not possible.all():
        index, component = np.argwhere(~possible)[0].tolist()
        raise ValueError(
            f"{whose(index)} left no outcome of action component {component}: one at least must be possible in "
            "every state. Where nothing can be done, end the episode, or give the environment an action that does nothing."
        )
    return masks


class RolloutMasks:
    """The masks of one rollout.

    :param env: the training environments, each with a method ``action_masks``
    :param action_dims: outcomes of each action component; P in all
    :param n_steps: of the rollout
    """

    def __init__(self, env: VecEnv, action_dims: tuple[int, ...], n_steps: int):
        self.env, self.action_dims = env, action_dims
        self.masks: np.ndarray = np.ones((n_steps, env.num_envs, sum(action_dims)), dtype=bool)

    def ask(self, step: int) -> np.ndarray:
        """Which outcomes are possible now ``[n_envs, P]``, those of all components side by side; kept as those of this step.

        :param step: of the rollout
        :raises TypeError: for a mask that is made of other things than truth values or numbers
        :raises ValueError: for a mask of another size, or one that leaves a component of the action without an outcome
        """
        given = self.env.env_method(MASKS)
        self.masks[step] = read_masks(
            given, self.action_dims, lambda index: f"{MASKS}() of environment {index} at step {step} of the rollout"
        )
        return self.masks[step]

    def tensor(self, steps: slice, device: th.device | str, by_env: bool = False) -> th.Tensor:
        """The masks of some steps, steps and environments in one dimension ``[B, P]``.

        :param steps: which
        :param device: of the tensor
        :param by_env: all steps of the first environment first, as SB3's buffer has them once it has been read from
        """
        masks = self.masks[steps].swapaxes(0, 1) if by_env else self.masks[steps]
        return th.as_tensor(masks.reshape(-1, masks.shape[-1]), device=device)
