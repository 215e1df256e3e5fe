"""What shadows that began in the same state are to one another: a baseline, or each other's mirror image."""

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_trpo import TRPO
from sb3_trpo.sampling import Evaluator
from sb3_trpo.sampling.evaluators import DeferredEvaluator

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


def with_sibling_baseline(n_trunks: int, period: int) -> Callable[[TRPO, RolloutBuffer], Any]:
    """TRPO's advantages minus the baseline: a method in place of its own.

    :param n_trunks: families
    :param period: steps between two synchronisations
    """

    def estimate_advantages(model: TRPO, buffer: RolloutBuffer) -> Any:
        values = TRPO._estimate_advantages(model, buffer)
        advantages = buffer.advantages.reshape(-1, period, buffer.n_envs)
        baseline = sibling_baseline(advantages, relatives(buffer.episode_starts, period), n_trunks)
        buffer.advantages = (advantages - baseline).reshape(buffer.advantages.shape).astype(np.float32)
        return values

    return estimate_advantages


def with_mirrored_noise(model: TRPO, buffer: RolloutBuffer, gamma: float) -> Evaluator:
    """TRPO's evaluator, but the second half of the environments get the first half's noise with its sign changed.

    What an advantage has in common under ε and −ε, the critic's error above all, then cancels in the gradient of a pair that
    begins in one state. Every row by itself follows the policy. Gaussian policies.
    """
    evaluator = TRPO._make_evaluator(model, buffer, gamma)
    assert isinstance(evaluator, DeferredEvaluator) and evaluator.fast is not None
    own = evaluator.noise
    evaluator.noise = (np.concatenate([half, -half]) for half in (noise[: len(noise) // 2] for noise in own))
    return evaluator
