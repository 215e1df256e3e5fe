"""Masks of actions, asked of the training environments at every step and kept with the rollout."""

from collections.abc import Sequence

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

METHOD = "action_masks"


class RolloutMasks:
    """The masks of one rollout.

    :param env: the training environments, each with a method ``action_masks``
    :param outcomes: of each action component; P in all
    :param n_steps: of the rollout
    """

    def __init__(self, env: VecEnv, outcomes: Sequence[int], n_steps: int):
        self.env, self.outcomes = env, outcomes
        self.masks: np.ndarray = np.ones((n_steps, env.num_envs, sum(outcomes)), dtype=bool)
        self._begins = np.cumsum([0, *outcomes[:-1]])

    def ask(self, step: int) -> np.ndarray:
        """Which outcomes are possible now ``[n_envs, P]``, those of all components side by side; kept as those of this step.

        :param step: of the rollout
        :raises ValueError: for a mask of another size, or one that leaves a component of the action without an outcome
        """
        now = self.masks[step]
        for index, mask in enumerate(self.env.env_method(METHOD)):
            if np.size(mask) != now.shape[1]:
                raise ValueError(
                    f"{METHOD}() of environment {index} gave an array of shape {np.shape(mask)} at step {step} of the "
                    f"rollout: it must give {now.shape[1]} truth values, one for each outcome of each action component "
                    f"({' + '.join(map(str, self.outcomes))})."
                )
            now[index] = np.reshape(mask, -1)
        possible = np.logical_or.reduceat(now, self._begins, axis=1)
        if not possible.all():
            index, component = np.argwhere(~possible)[0]
            raise ValueError(
                f"{METHOD}() of environment {index} left no outcome of action component {component} at step {step} of the "
                "rollout: one at least must be possible in every state. Where nothing can be done, end the episode, or give "
                "the environment an action that does nothing."
            )
        return now

    def tensor(self, steps: slice, device: th.device | str, by_env: bool = False) -> th.Tensor:
        """The masks of some steps, steps and environments in one dimension ``[B, P]``.

        :param steps: which
        :param device: of the tensor
        :param by_env: all steps of the first environment first, as SB3's buffer has them once it has been read from
        """
        masks = self.masks[steps].swapaxes(0, 1) if by_env else self.masks[steps]
        return th.as_tensor(masks.reshape(-1, masks.shape[-1]), device=device)
