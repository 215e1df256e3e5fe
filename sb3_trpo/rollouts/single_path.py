"""Single-path sampling (paper, section 5.1): run the policy in the training environments, step by step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

Observations = np.ndarray | dict[str, np.ndarray]


@dataclass
class Transition:
    """One step of all environments; the fields carry the names SB3's callbacks find in their ``locals``.

    :param obs: what the policy was shown, shape ``[n_envs, …]``
    :param actions: what the policy drew
    :param clipped_actions: what the environments were given
    :param values: V(obs) ``[n_envs, 1]``
    :param log_probs: log π(actions|obs) ``[n_envs]``
    :param new_obs: observations after the step; of the next episode where ``dones``
    :param rewards: ``[n_envs]``
    :param dones: episode ended, by termination or truncation
    :param infos: one dict an environment
    """

    obs: Observations
    actions: np.ndarray
    clipped_actions: np.ndarray
    values: th.Tensor
    log_probs: th.Tensor
    new_obs: Observations
    rewards: np.ndarray
    dones: np.ndarray
    infos: list[dict[str, Any]]


def _presentable(obs: Observations) -> Observations:
    """Observations without NaN and infinity, so that a faulty sensor does not stop the environments.

    The action taken on such an observation is arbitrary; the buffer keeps the original, and the update refuses it.
    """
    if isinstance(obs, dict):
        return {key: _presentable(value) for key, value in obs.items()}  # type: ignore[misc]
    if np.issubdtype(obs.dtype, np.floating) and not np.isfinite(obs).all():
        return np.nan_to_num(obs, nan=0.0, posinf=0.0, neginf=0.0)
    return obs


def _env_actions(policy: ActorCriticPolicy, actions: np.ndarray) -> np.ndarray:
    """Actions in the environment's range: unsquashed if the policy squashes, else clipped."""
    if not isinstance(policy.action_space, spaces.Box):
        return actions
    if policy.squash_output:
        return policy.unscale_action(actions)
    return np.clip(actions, policy.action_space.low, policy.action_space.high)


def single_path(
    policy: ActorCriticPolicy, env: VecEnv, obs: Observations, n_steps: int, sde_sample_freq: int = -1
) -> Iterator[Transition]:
    """Run the policy for ``n_steps`` steps of every environment.

    :param policy: acts in eval mode
    :param env: the training environments
    :param obs: where they stand
    :param n_steps: env steps an environment
    :param sde_sample_freq: steps between two noise matrices of gSDE; −1: one a rollout
    """
    device = policy.device  # SB3 looks it up among all modules
    for step in range(n_steps):
        if policy.use_sde and sde_sample_freq > 0 and step % sde_sample_freq == 0:
            policy.reset_noise(env.num_envs)
        with th.no_grad():
            tensors, values, log_probs = policy(obs_as_tensor(_presentable(obs), device))  # type: ignore[arg-type]
        actions = tensors.cpu().numpy()
        clipped_actions = _env_actions(policy, actions)
        new_obs, rewards, dones, infos = env.step(clipped_actions)
        yield Transition(obs, actions, clipped_actions, values, log_probs, new_obs, rewards, dones, infos)  # type: ignore[arg-type]
        obs = new_obs  # type: ignore[assignment]


def record(
    buffer: RolloutBuffer, policy: ActorCriticPolicy, step: Transition, episode_starts: np.ndarray, bootstrap_gamma: float
) -> None:
    """Add a step to the buffer, as SB3 does: γ V(s') joins the reward where a time limit cut the episode at s'.

    :param buffer: SB3's rollout buffer
    :param policy: gives V
    :param step: the step
    :param episode_starts: whether ``step.obs`` opens an episode ``[n_envs]``
    :param bootstrap_gamma: γ, or 0 to leave the rewards alone
    """
    if bootstrap_gamma > 0.0:
        for index in np.flatnonzero(step.dones):
            info = step.infos[index]
            if info.get("TimeLimit.truncated", False) and info.get("terminal_observation") is not None:
                with th.no_grad():
                    value = policy.predict_values(policy.obs_to_tensor(info["terminal_observation"])[0])[0]
                step.rewards[index] += bootstrap_gamma * value.item()
    actions = step.actions.reshape(-1, 1) if isinstance(policy.action_space, spaces.Discrete) else step.actions
    buffer.add(step.obs, actions, step.rewards, episode_starts, step.values, step.log_probs)  # type: ignore[arg-type]
