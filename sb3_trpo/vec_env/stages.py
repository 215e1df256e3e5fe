"""The work of a VecEnv's wrappers, done on the outputs of other environments."""

from copy import deepcopy
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecExtractDictObs, VecFrameStack, VecNormalize, VecTransposeImage
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from sb3_trpo.vec_env.layers import frame_stacks, layers
from sb3_trpo.vec_env.rows import RowState

Observations = np.ndarray | dict[str, np.ndarray]


class WrapperStages:
    """What a VecEnv's wrappers make of observations and rewards, for any number of rows, and learning nothing from them.

    Statistics are the training environments' own, as they are when they are used. May be pickled.

    :param env: the training environments with their wrappers, of kinds that :func:`clone_rows` accepts
    :param rows: how many environments there will be
    """

    def __init__(self, env: VecEnv, rows: int):
        self.stages: list[tuple[int, Any]] = []  # innermost first, each with its place from outside
        for place, wrapper in enumerate(layers(env)):
            if isinstance(wrapper, VecFrameStack):
                stacks = deepcopy(wrapper.stacked_obs)
                for part in frame_stacks(stacks):
                    part.stacked_obs = np.zeros((rows, *part.stacked_shape), dtype=part.stacked_obs.dtype)
                self.stages.append((place, stacks))
            elif isinstance(wrapper, VecNormalize):
                self.stages.append((place, wrapper))
            elif isinstance(wrapper, VecTransposeImage):
                self.stages.append((place, _Transpose(wrapper)))
            elif isinstance(wrapper, VecExtractDictObs):
                self.stages.append((place, wrapper.key))
        self.stages.reverse()

    def load(self, row: int, state: RowState) -> None:
        """Bring the frame stacks of a row into a saved state.

        :param row: of these environments
        :param state: of any row of the VecEnv whose wrappers these are
        """
        for place, stage in self.stages:
            if isinstance(stage, StackedObservations):
                for part, saved in zip(frame_stacks(stage), state.rows[place], strict=True):
                    part.stacked_obs[row] = saved

    def apply(self, obs: Any, rewards: np.ndarray) -> tuple[Observations, np.ndarray]:
        """Observations and rewards of all rows after a step, as the policy and the rollout buffer would get them.

        :param obs: of the environments themselves ``[n, …]``
        :param rewards: likewise ``[n]``
        """
        for _, stage in self.stages:
            if isinstance(stage, StackedObservations):
                obs = stage.update(obs, np.zeros(len(rewards), dtype=bool), [{}] * len(rewards))[0]
            elif isinstance(stage, VecNormalize):
                obs, rewards = stage.normalize_obs(obs), stage.normalize_reward(rewards)
            elif isinstance(stage, _Transpose):
                obs = stage(obs)
            else:
                obs = obs[stage]
        return obs, rewards


class _Transpose:
    """VecTransposeImage's work without the environments behind it."""

    def __init__(self, env: VecTransposeImage):
        self.skip, self.keys = env.skip, getattr(env, "image_space_keys", None)

    def __call__(self, obs: Any) -> Any:
        if self.skip:
            return obs
        if self.keys is None:
            return VecTransposeImage.transpose_image(obs)
        return {key: VecTransposeImage.transpose_image(part) if key in self.keys else part for key, part in obs.items()}
