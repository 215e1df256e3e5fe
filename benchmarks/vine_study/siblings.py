"""A baseline for shadows: what the others that began in the same state gained."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_trpo.rollouts import estimate_advantages

AGES = 8  # steps of the same age, for which one coefficient is fitted


def relatives(episode_starts: np.ndarray, period: int) -> np.ndarray:
    """Whether a row still runs in the episode in which its segment began ``[segments, period, rows]``.

    :param episode_starts: ``[steps, rows]``
    """
    starts = episode_starts.reshape(-1, period, episode_starts.shape[1]).copy()
    starts[:, 0] = 0.0
    return starts.cumsum(axis=1) == 0.0


def sibling_baseline(advantages: np.ndarray, together: np.ndarray, n_trunks: int) -> np.ndarray:
    """β(age) times the mean advantage of a step's relatives at the same age, zero where there are none.

    Relatives draw noise of their own, so what they gain says nothing of this step's action and may be subtracted; β is fitted
    to these very samples, which makes a small difference.

    :param advantages: Â ``[segments, period, rows]``, rows being trunks, then the first shadow of each, and so on
    :param together: rows that still run where their segment began, of the same shape
    :param n_trunks: families
    """
    shape = advantages.shape
    families = (*shape[:2], shape[2] // n_trunks, n_trunks)
    own, alive = (advantages - advantages.mean()).reshape(families), together.reshape(families)
    sums, counts = ((own * alive).sum(axis=2, keepdims=True) - own * alive, alive.sum(axis=2, keepdims=True) - alive)
    others = np.where(alive & (counts > 0), sums / np.maximum(counts, 1), 0.0)
    baseline = np.zeros(families)
    for age in range(0, shape[1], AGES):
        ages = slice(age, age + AGES)
        power = np.square(others[:, ages]).sum()
        baseline[:, ages] = np.clip((own[:, ages] * others[:, ages]).sum() / (power + 1e-8), 0.0, 1.0) * others[:, ages]
    return baseline.reshape(shape)


@dataclass(frozen=True)
class AdvantagesOfSiblings:
    """``estimate_advantages`` less the baseline.

    :param n_trunks: families
    :param period: steps between two synchronisations
    """

    n_trunks: int
    period: int

    def __call__(self, buffer: RolloutBuffer, *arguments: Any) -> None:
        estimate_advantages(buffer, *arguments)
        advantages = buffer.advantages.reshape(-1, self.period, buffer.n_envs)
        baseline = sibling_baseline(advantages, relatives(buffer.episode_starts, self.period), self.n_trunks)
        buffer.advantages = (advantages - baseline).reshape(buffer.advantages.shape).astype(np.float32)
