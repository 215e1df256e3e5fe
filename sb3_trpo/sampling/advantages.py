"""From rewards to advantages: generalised advantage estimation, or Monte-Carlo returns that need no critic."""

from collections.abc import Callable

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.policy import PolicyInput, overrides
from sb3_trpo.sampling.defects import predicted_values


@th.no_grad()
def estimate_advantages(
    buffer: RolloutBuffer,
    policy: ActorCriticPolicy,
    last: PolicyInput,
    dones: np.ndarray,
    estimator: str,
    mean: Callable[[th.Tensor], th.Tensor],
) -> th.Tensor | None:
    """Fill the buffer's returns and advantages; a buffer with a way of its own is asked.

    :param buffer: full, not yet read from
    :param policy: values the states after the last step
    :param last: these n_envs states
    :param dones: whether the last step ended an episode ``[n_envs]``
    :param estimator: ``"gae"`` or ``"monte_carlo"``
    :param mean: turns the mean over this rank's samples into the global mean
    :return: values after the last step ``[n_envs, 1]``, where they were asked for
    """
    if estimator == "monte_carlo":
        monte_carlo_advantages(buffer, mean)
        return None
    last_values = predicted_values(policy, last)
    if overrides(buffer, RolloutBuffer, ("compute_returns_and_advantage",)):
        buffer.compute_returns_and_advantage(last_values, dones)
    else:
        generalized_advantages(buffer, last_values.cpu().numpy().flatten(), dones)
    return last_values


def generalized_advantages(buffer: RolloutBuffer, last_values: np.ndarray, dones: np.ndarray) -> None:
    """Fill the buffer's returns and advantages: Â_t = Σ_l (γλ)^l δ_{t+l}, δ_t = r_t + γ V(s_{t+1}) − V(s_t).

    What SB3's buffer computes (Schulman et al. 2016), with all but the recursion itself done for all steps at once.

    :param buffer: full, not yet read from
    :param last_values: V after the last step ``[n_envs]``
    :param dones: whether the last step ended an episode ``[n_envs]``
    """
    going_on = np.float32(1.0) - np.concatenate([buffer.episode_starts[1:], dones[None].astype(np.float32)])
    next_values = np.concatenate([buffer.values[1:], last_values[None].astype(np.float32)])
    advantages = buffer.rewards + np.float32(buffer.gamma) * next_values * going_on - buffer.values
    decay = np.float32(buffer.gamma * buffer.gae_lambda) * going_on
    for step in range(buffer.buffer_size - 2, -1, -1):
        advantages[step] += decay[step] * advantages[step + 1]
    buffer.advantages = advantages
    buffer.returns = advantages + buffer.values


def monte_carlo_advantages(buffer: RolloutBuffer, mean: Callable[[th.Tensor], th.Tensor]) -> None:
    """Fill the buffer's returns and advantages from its rewards alone (paper, section 5.1).

    Q̂_t = Σ_l γ^l r_{t+l} up to the end of the trajectory, Â_t = Q̂_t − mean Q̂: a constant baseline. A trajectory
    that is cut, by a time limit or by the end of the rollout, is closed as if nothing came after it, as the paper's
    trajectories of fixed length are. Keep ``n_steps`` several times 1/(1−γ), or a multiple of the episode length, so
    that few samples see the cut.

    :param buffer: full, not yet read from; rewards without time-limit bootstraps
    :param mean: turns the mean over this rank's samples into the global mean
    """
    running = np.zeros(buffer.n_envs, dtype=np.float32)
    for step in reversed(range(buffer.buffer_size)):
        if step + 1 < buffer.buffer_size:
            running = running * (1.0 - buffer.episode_starts[step + 1])
        running = buffer.rewards[step] + buffer.gamma * running
        buffer.returns[step] = running
    buffer.advantages = buffer.returns - float(mean(th.as_tensor(buffer.returns.mean(dtype=np.float64))))
