"""Advantages without a critic: Monte-Carlo returns (paper, section 5.1). GAE is the rollout buffer's own."""

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer


def monte_carlo_advantages(buffer: RolloutBuffer) -> None:
    """Fill the buffer's returns and advantages from its rewards alone.

    Q̂_t = Σ_l γ^l r_{t+l} up to the end of the trajectory, Â_t = Q̂_t − mean Q̂: a constant baseline. A trajectory
    that is cut, by a time limit or by the end of the rollout, is closed as if nothing came after it, as the paper's
    trajectories of fixed length are. Keep ``n_steps`` several times 1/(1−γ), or a multiple of the episode length, so
    that few samples see the cut.

    :param buffer: full, not yet read from; rewards without time-limit bootstraps
    """
    running = np.zeros(buffer.n_envs, dtype=np.float32)
    for step in reversed(range(buffer.buffer_size)):
        if step + 1 < buffer.buffer_size:
            running = running * (1.0 - buffer.episode_starts[step + 1])
        running = buffer.rewards[step] + buffer.gamma * running
        buffer.returns[step] = running
    buffer.advantages = buffer.returns - buffer.returns.mean()
