"""Single-path sampling (paper, section 5.1): run the policy in the training environments, step by step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import ParameterCopy, explores_by_state
from sb3_trpo.vec_env.fast_normalization import quick_step

Observations = np.ndarray | dict[str, np.ndarray]


@dataclass
class Transition:
    """One step of all environments; the fields carry the names SB3's callbacks find in their ``locals``.

    :param obs: what the policy was shown, shape ``[n_envs, …]``
    :param actions: what the policy drew
    :param clipped_actions: what the environments were given
    :param new_obs: observations after the step; of the next episode where ``dones``
    :param rewards: ``[n_envs]``
    :param dones: episode ended, by termination or truncation
    :param infos: one dict an environment
    """

    obs: Observations
    actions: np.ndarray
    clipped_actions: np.ndarray
    new_obs: Observations
    rewards: np.ndarray
    dones: np.ndarray
    infos: list[dict[str, Any]]

    def cut_by_time_limit(self) -> Iterator[tuple[int, Observations]]:
        """Environments whose episode a time limit ended at this step, with the observation it ended at."""
        for index in np.flatnonzero(self.dones) if self.dones.any() else ():
            info = self.infos[index]
            if info.get("TimeLimit.truncated", False) and info.get("terminal_observation") is not None:
                yield int(index), info["terminal_observation"]


class Evaluator(Protocol):
    """Draws actions and sees to it that the rollout buffer gets their log-probabilities and the states' values.

    :param acted_with: the policy's parameters at the beginning
    """

    acted_with: ParameterCopy

    def act(self, obs: Observations) -> np.ndarray:
        """Draw actions from the policy.

        :param obs: finite ``[n_envs, …]``, or a dict of such
        :return: ``[n_envs, …]``
        """
        ...

    def record(self, step: Transition, episode_starts: np.ndarray) -> None:
        """Take a step into the buffer.

        :param step: of all environments
        :param episode_starts: whether an episode began at its observations ``[n_envs]``
        """
        ...

    def finish(self) -> None:
        """Complete the buffer, advantages apart, after its last step."""
        ...

    def locals(self) -> dict[str, Any]:
        """What a callback finds in its ``locals`` beyond the transition."""
        ...


def finite(obs: Observations) -> Observations:
    """Observations without NaN and infinity, so that a faulty sensor does not stop the environments.

    The action taken on such an observation is arbitrary; the buffer keeps the original, and the update refuses it.
    """
    return map_parts(_finite, obs)


def _finite(part: np.ndarray) -> np.ndarray:
    if part.dtype.kind == "f" and not np.isfinite(part).all():
        return np.nan_to_num(part, nan=0.0, posinf=0.0, neginf=0.0)
    return part


def stacked(parts: Sequence[Observations]) -> Observations:
    """Observations along a new first axis."""
    return map_parts(lambda *arrays: np.stack(arrays), *parts)


def to_env(policy: ActorCriticPolicy) -> Callable[[np.ndarray], np.ndarray]:
    """Brings actions into the environment's range: unsquashed if the policy squashes, else clipped.

    The array is a new one: environments may keep what they are given, or write into it.
    """
    space = policy.action_space
    if not isinstance(space, spaces.Box):
        return np.copy
    if policy.squash_output:
        return policy.unscale_action
    return lambda actions: np.minimum(np.maximum(actions, space.low), space.high)


def single_path(
    policy: ActorCriticPolicy, evaluator: Evaluator, env: VecEnv, obs: Observations, n_steps: int, sde_sample_freq: int = -1
) -> Iterator[Transition]:
    """Run the policy for ``n_steps`` steps of every environment.

    :param policy: in eval mode
    :param evaluator: acts for it
    :param env: the training environments
    :param obs: where they stand
    :param n_steps: env steps an environment
    :param sde_sample_freq: steps between two noise matrices of gSDE; −1: one a rollout
    """
    in_range, step_all = to_env(policy), quick_step(env)
    for step in range(n_steps):
        if explores_by_state(policy) and sde_sample_freq > 0 and step % sde_sample_freq == 0:
            policy.reset_noise(env.num_envs)
        actions = evaluator.act(finite(obs))
        clipped_actions = in_range(actions)
        new_obs, rewards, dones, infos = step_all(clipped_actions)
        yield Transition(obs, actions, clipped_actions, new_obs, rewards, dones, infos)  # type: ignore[arg-type]
        obs = new_obs  # type: ignore[assignment]
