"""Whether an SB3 object still does what SB3 does: a short cut is taken past SB3's own methods, never past a user's."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim, is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import nn

from sb3_trpo.plain_network import is_chain, is_plain_mlp, is_untouched

STOCK_DISTRIBUTIONS = (
    sb3.DiagGaussianDistribution,
    sb3.StateDependentNoiseDistribution,
    sb3.CategoricalDistribution,
    sb3.MultiCategoricalDistribution,
    sb3.BernoulliDistribution,
)
_POLICY = ("forward", "predict_values", "get_distribution", "extract_features", "_get_action_dist_from_latent")
_BUFFER = ("add", "get", "_get_samples", "to_torch")


def overrides(instance: Any, base: type, names: tuple[str, ...]) -> bool:
    """Whether a class or an instance has replaced any of these methods of a base class."""
    return any(name in vars(instance) or getattr(type(instance), name) is not getattr(base, name) for name in names)


def is_stock_policy(policy: ActorCriticPolicy) -> bool:
    """Whether actions, distributions and values are SB3's own, with nothing hooked in."""
    hooked = bool(policy._forward_hooks or policy._forward_pre_hooks)
    stock_distribution = type(policy.action_dist) in STOCK_DISTRIBUTIONS
    return stock_distribution and not hooked and not overrides(policy, ActorCriticPolicy, _POLICY)


def is_stock_network(policy: ActorCriticPolicy) -> bool:
    """Whether features extractors and MLP are of SB3's or of this package's classes."""
    parts = (policy.pi_features_extractor, policy.vf_features_extractor, policy.mlp_extractor)
    return all(type(part).__module__.startswith(("stable_baselines3.", "sb3_trpo.")) for part in parts)


def actor_layers(policy: ActorCriticPolicy) -> list[nn.Module]:
    """Layers from features to means or logits, one after another; none where SB3's extractor may do anything else."""
    extractor = policy.mlp_extractor
    if type(extractor) is not MlpExtractor or "forward_actor" in vars(extractor) or not is_untouched(extractor):
        return []
    return [*extractor.policy_net, policy.action_net] if is_chain(extractor.policy_net) else []


def critic_layers(policy: ActorCriticPolicy) -> list[nn.Module]:
    """The same from features to the value."""
    extractor = policy.mlp_extractor
    if type(extractor) is not MlpExtractor or "forward_critic" in vars(extractor):
        return []
    return [*extractor.value_net, policy.value_net] if is_chain(extractor.value_net) else []


def has_deviation_for_each_action(policy: ActorCriticPolicy) -> bool:
    """Whether a Gaussian policy's ``log_std`` is ``[d]``: one that is broadcast over actions is left to PyTorch."""
    log_std = getattr(policy, "log_std", None)
    return log_std is None or tuple(log_std.shape) == (get_action_dim(policy.action_space),)


def is_stock_mlp(policy: ActorCriticPolicy) -> bool:
    """Whether the actor is SB3's MLP of plain layers on vectors, Gaussian or categorical, on the CPU."""
    extractor, layers = policy.pi_features_extractor, actor_layers(policy)
    return (
        type(extractor) is FlattenExtractor
        and type(policy.action_dist) in (sb3.DiagGaussianDistribution, sb3.CategoricalDistribution)
        and has_deviation_for_each_action(policy)
        and type(policy.observation_space) is spaces.Box
        and not is_image_space(policy.observation_space)
        and all(map(is_untouched, extractor.modules()))
        and bool(layers)
        and is_plain_mlp(layers)
        and all(parameter.device.type == "cpu" for layer in layers for parameter in layer.parameters())
    )


def is_stock_buffer(buffer: RolloutBuffer) -> bool:
    """Whether the buffer is written to and read from as SB3 does it."""
    base = DictRolloutBuffer if isinstance(buffer, DictRolloutBuffer) else RolloutBuffer
    return not overrides(buffer, base, _BUFFER)
