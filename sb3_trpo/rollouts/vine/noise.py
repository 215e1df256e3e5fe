"""Actions as a function of a state and of noise drawn beforehand (paper, section 5.2: common random numbers).

Several branches that get the same noise differ in nothing but the states they are in: a continuous action is
mean + σ ε, a discrete one the inverse of its distribution function at u, gSDE's mean + φ(s) W with one exploration
matrix W.
"""

from collections.abc import Callable

import numpy as np
import torch as th
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.plain_network import forward
from sb3_trpo.rollouts.single_path import Observations
from sb3_trpo.rollouts.stock import actor_layers, is_stock_mlp, is_stock_policy


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


@th.no_grad()
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
    logits = [part.logits.cpu().numpy() for part in parts]  # type: ignore[attr-defined]
    chosen = [_inverse_cdf(part, noise[:, index : index + 1]) for index, part in enumerate(logits)]
    return th.as_tensor(np.stack(chosen, axis=1) if isinstance(inner, list) else chosen[0], device=policy.device)


def _inverse_cdf(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """The first category at which the cumulative probability exceeds u; the last one where rounding keeps it below.

    :param logits: ``[B, n]``
    :param uniform: u ``[B, 1]``
    """
    weights = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
    beyond = (uniform * weights[:, -1:] >= weights).sum(axis=1)
    return np.minimum(beyond, logits.shape[1] - 1)


def make_actor(policy: ActorCriticPolicy) -> Callable[[Observations, np.ndarray], np.ndarray]:
    """:func:`actions_from_noise` for many calls with the same weights, written out where it can be.

    The two give the same actions up to rounding; of a multiple of 16 rows, each by itself gives equal ones equal actions,
    wherever they stand. That takes PyTorch's matrix products: on some processors NumPy's round a row by its place.

    :param policy: in eval mode
    """
    device = policy.device
    if not (is_stock_policy(policy) and is_stock_mlp(policy)):
        return lambda obs, noise: actions_from_noise(policy, obs_as_tensor(obs, device), noise).cpu().numpy()  # type: ignore[arg-type]
    layers = actor_layers(policy)
    weights = [parameter.detach() for layer in layers for parameter in layer.parameters()]

    def network(obs: Observations) -> np.ndarray:
        return forward(layers, weights, th.as_tensor(obs, dtype=th.float32).flatten(1))[-1].numpy()

    if isinstance(policy.action_dist, sb3.CategoricalDistribution):
        return lambda obs, noise: _inverse_cdf(network(obs), noise)
    deviation = policy.log_std.detach().exp().numpy()
    return lambda obs, noise: network(obs) + deviation * noise
