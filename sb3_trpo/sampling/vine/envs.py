"""Environments to branch in: copies of a training environment."""

from collections.abc import Sequence
from zlib import crc32

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
)
from stable_baselines3.common.vec_env.util import dict_to_obs, obs_space_info

from sb3_trpo.discrete import MASKS
from sb3_trpo.processes.messages import load
from sb3_trpo.sampling.masks import read_masks
from sb3_trpo.sampling.single_path import Observations
from sb3_trpo.simulators import CannotCloneError, CloneReport, Models, check_clone, copy_env, restore_models, restore_state
from sb3_trpo.vec_env import RowState, WrapperStages, call_cloneable, clone_row_models, clone_rows, environment_at

CHECKED_STEPS = 50


class BranchEnvs:
    """Environments in which saved states are restored and run on, one row each.

    Nothing is reset when an episode ends: the next restored state puts an end to that.

    :param envs: instances built like the training environments, wrappers included
    :param stages: the VecEnv wrappers' work, for as many rows
    """

    def __init__(self, envs: Sequence[gym.Env], stages: WrapperStages):
        self.envs, self.stages = list(envs), stages
        self.space = self.envs[0].observation_space
        _, shapes, dtypes = obs_space_info(self.space)
        self.raw = {key: np.zeros((len(self.envs), *shapes[key]), dtype=dtypes[key]) for key in shapes}
        self.rewards = np.zeros(len(self.envs))  # those of the environments themselves, and checksums of their observations
        self.digests = np.zeros((len(self.envs), len(self.raw)), dtype=np.uint32)
        self._models: list[Models | None] = [None] * len(self.envs)  # those restored last

    def __len__(self) -> int:
        return len(self.envs)

    def load(self, row: int, state: RowState) -> None:
        """Bring a row into a saved state."""
        if state.models is not None and state.models is not self._models[row]:
            restore_models(self.envs[row], state.models)
            self._models[row] = state.models
        restore_state(self.envs[row], state.env)
        self.stages.load(row, state)

    def step(self, rows: Sequence[int], actions: np.ndarray) -> tuple[Observations, np.ndarray, np.ndarray, np.ndarray]:
        """Step some rows.

        :param rows: which
        :param actions: one for each of them
        :return: observations and rewards of all rows, and for each row stepped whether it terminated and was truncated
        """
        ends = np.zeros((2, len(rows)), dtype=bool)
        for place, (row, action) in enumerate(zip(rows, actions, strict=True)):
            obs, self.rewards[row], ends[0, place], ends[1, place], _ = self.envs[row].step(action)
            for part, (key, values) in enumerate(self.raw.items()):
                values[row] = obs if key is None else obs[key]
                self.digests[row, part] = crc32(values[row])
        obs, rewards = self.stages.apply(dict_to_obs(self.space, self.raw), self.rewards)
        return obs, rewards, *ends

    def masks(self, rows: np.ndarray, taken: np.ndarray, action_dims: tuple[int, ...]) -> np.ndarray:
        """Which outcomes are possible now, of all rows ``[rows, P]``: asked of some, all of the others'.

        :param rows: which to ask
        :param taken: how many steps of its branch each of these has taken
        :param action_dims: outcomes of each action component
        :raises ValueError: for a mask that cannot be used
        """
        masks: np.ndarray = np.ones((len(self.envs), sum(action_dims)), dtype=bool)
        given = [self.envs[row].get_wrapper_attr(MASKS)() for row in rows]
        masks[rows] = read_masks(
            given, action_dims, lambda place: f"{MASKS}() of an environment at step {taken[place]} of a branch"
        )
        return masks

    def close(self) -> None:
        for env in self.envs:
            env.close()


def branch_template(env: VecEnv) -> gym.Env:
    """A copy of the training environments, which must all be built the same way, to make further copies from.

    :raises ValueError: if they are not, or cannot be copied exactly, or cannot be reached, or show or record what they do
    """
    if any(env.env_is_wrapped(gym.wrappers.RecordVideo)) or "human" in env.get_attr("render_mode"):
        raise ValueError(
            "The vine's branches run in copies of the training environments, and would be shown and recorded with them: make "
            "these without RecordVideo and render_mode='human', and watch an environment of its own, as RL Zoo's record_video "
            "and enjoy do."
        )
    clone_rows(env, [])  # refuses what cannot be reached
    inner = env.unwrapped
    if isinstance(inner, DummyVecEnv):
        templates = [copy_env(environment_at(inner, index)) for index in range(inner.num_envs)]
    else:
        copies = call_cloneable(inner, "pickled_copy", range(inner.num_envs))
        for error in (copy for copy in copies if isinstance(copy, Exception)):
            raise error
        templates = list(map(unpickled, copies))
    models = clone_row_models(env)
    for template, own in zip(templates, models, strict=True):
        restore_models(template, own)
    made = {str(template) for template in templates}
    if len(made) > 1:
        raise ValueError(
            f"The vine branches in copies of one environment, but the training environments differ: {made}. Build all of "
            "them the same way."
        )
    report = _checked(templates[0])
    if not report.exact:
        raise ValueError(
            f"Branches would not be exact: a state of the environment saved with clone_state and restored gave another "
            f"{report.difference}. Something in it is not part of its state (a global random generator, or something that its "
            "instances share): remove that. Or give it methods clone_state() and restore_state(token); if it has them, "
            "correct them."
        )
    for index, template in enumerate(templates[1:], start=1):
        restore_models(templates[0], models[index])
        report = _checked(template, templates[0])
        if not report.exact:
            raise ValueError(
                "The vine branches in copies of one environment, but the training environments differ: a state of environment "
                f"{index} restored in a copy of environment 0 gave another {report.difference}. Build all of them the same "
                "way, with the same functions."
            )
    return templates[0]


def _checked(template: gym.Env, other: gym.Env | None = None) -> CloneReport:
    try:
        return check_clone(template, other, n_steps=CHECKED_STEPS, infos=False)  # branches do not look at them
    except CannotCloneError:
        raise
    except Exception as error:
        raise ValueError(
            "The training environments cannot be copied, which the vine's branches need: a copy raised "
            f"{type(error).__name__}: {error} when it was reset and stepped. Give them the methods clone_state() and "
            "restore_state(token), or correct the way they are pickled (__reduce__, __getstate__)."
        ) from error


def unpickled(data: bytes) -> gym.Env:
    """An environment that was pickled in another process.

    :raises CannotCloneError: if it cannot be made again here
    """
    try:
        return load(data)
    except Exception as error:
        reason = f"it can be pickled, but not unpickled in this process ({type(error).__name__}: {error})"
        raise CannotCloneError("an environment of another process", reason) from error
