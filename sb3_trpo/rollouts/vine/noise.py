"""Actions as a function of a state and of noise drawn beforehand (paper, section 5.2: common random numbers).

Several branches that get the same noise differ in nothing but the states they are in: a continuous action is
mean + σ ε, a discrete one the inverse of its distribution function at u, gSDE's mean + φ(s) W with one exploration
matrix W.
"""

import numpy as np
import torch as th
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs


def noise_shape(policy: ActorCriticPolicy) -> tuple[int, ...]:
    """Shape of the noise behind one action."""
    distribution = policy.action_dist
    if isinstance(distribution, sb3.StateDependentNoiseDistribution):
        return (int(distribution.latent_sde_dim), int(distribution.action_dim))  # type: ignore[arg-type]
    if isinstance(distribution, sb3.MultiCategoricalDistribution):
        return (len(distribution.action_dims),)
    if isinstance(distribution, sb3.CategoricalDistribution):
        return (1,)
    if isinstance(distribution, sb3.BernoulliDistribution):
        return (distribution.action_dims,)
    return (distribution.action_dim,)  # type: ignore[attr-defined]


def draw_noise(policy: ActorCriticPolicy, rng: np.random.Generator, leading: tuple[int, ...]) -> np.ndarray:
    """Noise for as many actions as ``leading`` says: standard normal, or uniform in [0, 1) for discrete actions."""
    shape = (*leading, *noise_shape(policy))
    if isinstance(policy.action_dist, (sb3.DiagGaussianDistribution, sb3.StateDependentNoiseDistribution)):
        return rng.standard_normal(shape, dtype=np.float32)
    return rng.random(shape, dtype=np.float32)


def actions_from_noise(policy: ActorCriticPolicy, observations: PyTorchObs, noise: np.ndarray) -> th.Tensor:
    """What the policy does in B states, given the noise.

    :param policy: in eval mode; its own random state and exploration matrices are left alone
    :param observations: ``[B, …]``
    :param noise: ``[B, …]`` of :func:`noise_shape`
    :return: actions as the distribution's ``log_prob`` takes them ``[B, …]``
    """
    distribution = policy.get_distribution(observations)
    drawn = th.as_tensor(noise, device=policy.device)
    if isinstance(distribution, sb3.StateDependentNoiseDistribution):
        deviation = distribution.get_std(policy.log_std)  # type: ignore[arg-type]
        latent = distribution._latent_sde
        actions = distribution.distribution.mean + th.einsum("bl,bld->bd", latent, drawn * deviation)  # type: ignore[arg-type]
        return actions if distribution.bijector is None else distribution.bijector.forward(actions)
    inner = distribution.distribution
    if isinstance(inner, th.distributions.Normal):
        return inner.mean + inner.stddev * drawn
    if isinstance(inner, th.distributions.Bernoulli):
        return (drawn < inner.probs).float()
    parts = inner if isinstance(inner, list) else [inner]
    chosen = [_inverse_cdf(part.probs, drawn[:, index]) for index, part in enumerate(parts)]  # type: ignore[attr-defined]
    return th.stack(chosen, dim=1) if isinstance(inner, list) else chosen[0]


def _inverse_cdf(probabilities: th.Tensor, uniform: th.Tensor) -> th.Tensor:
    """The first category at which the cumulative probability exceeds u; the last one where rounding keeps it below."""
    beyond = (uniform[:, None] >= probabilities.cumsum(dim=1)).sum(dim=1)
    return beyond.clamp_(max=probabilities.shape[1] - 1)
