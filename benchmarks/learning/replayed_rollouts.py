"""A change of TRPO: before advantages are estimated, the critic is fitted to the last rollouts, corrected for the policy."""

import math
from dataclasses import dataclass

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.critic import fit_critic
from sb3_trpo.policy import Actor, values_of
from sb3_trpo.sampling import Samples

ROLLOUTS = 8


@dataclass(frozen=True)
class Rollout:
    """N environments, T steps, in the environment's units.

    :param observations: with those after the last step ``[T + 1, N, …]``
    :param actions: ``[T, N, …]``
    :param rewards: ``[T, N]``
    :param going_on: 0 where a step ends an episode, else 1 ``[T, N]``
    :param log_probs: of the actions by the policy that took them ``[T, N]``, nats
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    going_on: np.ndarray
    log_probs: np.ndarray

    @classmethod
    def of(cls, model: TRPO, buffer: RolloutBuffer) -> "Rollout":
        env = normalization(model)
        observations = np.concatenate([buffer.observations, np.asarray(model._last_obs)[None]])
        actions, log_probs = buffer.actions.copy(), buffer.log_probs.copy()
        rewards = buffer.rewards * returns_deviation(env)
        return cls(env.unnormalize_obs(observations), actions, rewards, going_on(model, buffer), log_probs)  # type: ignore[arg-type]


def going_on(model: TRPO, buffer: RolloutBuffer) -> np.ndarray:
    """0 where a step ends an episode, else 1 ``[T, N]``."""
    ends = np.concatenate([buffer.episode_starts[1:], np.asarray(model._last_episode_starts, dtype=np.float32)[None]])
    return 1.0 - ends


def normalization(model: TRPO) -> VecNormalize:
    env = model.get_vec_normalize_env()
    assert env is not None
    return env


def returns_deviation(env: VecNormalize) -> float:
    """What rewards are divided by at present. VecNormalize would clip them, and a time limit's value in them."""
    return math.sqrt(env.ret_rms.var + env.epsilon)


def corrected_returns(
    rewards: np.ndarray, values: np.ndarray, going_on: np.ndarray, ratios: np.ndarray, gamma: float, gae_lambda: float
) -> np.ndarray:
    """Returns expected from each state, estimated from another policy's steps (V-trace: Espeholt et al. 2018, with λ).

    v_t = V(s_t) + ρ_t (δ_t + γλ (v_{t+1} − V(s_{t+1}))), ρ = min(1, π(a|s) / π_old(a|s)). Because ρ is
    truncated, they are those of a policy between the two, in proportion to min(π, π_old). If the two are the same, these are
    the λ-returns that TRPO fits its critic to.

    :param rewards: ``[T, …]``
    :param values: V, also after the last step ``[T + 1, …]``
    :param going_on: 0 where a step ends an episode, else 1 ``[T, …]``
    :param ratios: π(a|s) / π_old(a|s) ``[T, …]``
    """
    truncated = np.minimum(ratios, 1.0)
    corrections = truncated * (rewards + gamma * going_on * values[1:] - values[:-1])
    decay = gamma * gae_lambda * truncated * going_on
    for step in range(len(rewards) - 2, -1, -1):
        corrections[step] += decay[step] * corrections[step + 1]
    return values[:-1] + corrections


class ReplayedRollouts:
    """Keeps the last rollouts of one run and fits its critic to them, the present one among them.

    :param passes: over one rollout, as many samples as the fit takes
    """

    def __init__(self, passes: int) -> None:
        self.passes, self.rollouts = passes, list[Rollout]()

    def estimate_advantages(self, model: TRPO, buffer: RolloutBuffer) -> th.Tensor | None:
        """In place of TRPO's own."""
        self.rollouts = [*self.rollouts, Rollout.of(model, buffer)][-ROLLOUTS:]
        self._fit(model)
        with th.no_grad():
            values = values_of(model.policy, th.as_tensor(buffer.observations).flatten(0, 1))
        buffer.values = values.numpy().reshape(buffer.values.shape)
        return TRPO._estimate_advantages(model, buffer)

    def _fit(self, model: TRPO) -> None:
        observations, targets = self.targets(model)
        needed, there = self.passes * model.rollout_buffer.rewards.size, len(targets)
        drawn = th.cat([th.randperm(there) for _ in range(math.ceil(needed / there))])[:needed]
        nothing = th.zeros(needed)
        samples = Samples(observations[drawn], nothing, nothing, nothing, targets[drawn])
        fit_critic(Actor(model.policy, observations[:1]), samples, 1, model.batch_size, model._ranks, model._left_out)

    @th.no_grad()
    def targets(self, model: TRPO) -> tuple[th.Tensor, th.Tensor]:
        """Observations ``[B, …]`` of all rollouts, and what the present policy is expected to earn from them ``[B]``."""
        env = normalization(model)
        stacked = np.stack([rollout.observations for rollout in self.rollouts], axis=1)
        observations = th.as_tensor(env.normalize_obs(stacked))
        actions, rewards, continues, log_probs = (
            np.stack([getattr(rollout, name) for rollout in self.rollouts], axis=1)
            for name in ("actions", "rewards", "going_on", "log_probs")
        )
        values = values_of(model.policy, observations.flatten(0, 2)).numpy().reshape(observations.shape[:3])
        before = observations[:-1].flatten(0, 2)
        distribution = model.policy.get_distribution(before)  # type: ignore[arg-type]
        new = distribution.log_prob(th.as_tensor(actions).flatten(0, 2)).numpy().reshape(log_probs.shape)
        ratios = np.exp(np.minimum(new - log_probs, 0.0))
        returns = corrected_returns(rewards / returns_deviation(env), values, continues, ratios, model.gamma, model.gae_lambda)
        return before, th.as_tensor(returns.astype(np.float32)).flatten()
