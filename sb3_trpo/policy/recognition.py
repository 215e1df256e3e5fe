"""What kind of policy this is: a short cut is taken past SB3's own methods, never past a user's.

Questions in order of how much is known. Are acting, values and distribution SB3's own methods, on modules of known
classes (:func:`is_stock_policy`)? Is the actor a chain of known layers (:func:`actor_chain`)? Is it one that NumPy can run?
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim, is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_trpo.policy.chain import is_cnn, is_mlp, is_sequential, is_untouched
from sb3_trpo.policy.hooks import replaced_methods

# Policies whose methods are known, each with the action distributions that it makes itself
_POLICIES: dict[type, tuple[type, ...]] = {
    ActorCriticPolicy: (
        sb3.DiagGaussianDistribution,
        sb3.StateDependentNoiseDistribution,
        sb3.CategoricalDistribution,
        sb3.MultiCategoricalDistribution,
        sb3.BernoulliDistribution,
    )
}
_METHODS = (
    "__call__",
    "forward",
    "predict_values",
    "get_distribution",
    "extract_features",
    "_get_action_dist_from_latent",
)
_LIBRARIES = ("torch.nn.modules.", "stable_baselines3.", "sb3_contrib.", "sb3_trpo.")

# Features extractors whose work is known layer by layer: names of their parts, run one after another
_EXTRACTORS: dict[type[nn.Module], tuple[str, ...]] = {FlattenExtractor: ("flatten",), NatureCNN: ("cnn", "linear")}


def register_policy(kind: type, *distributions: type) -> None:
    """Make a policy known as one that acts, evaluates and gives distributions as ``ActorCriticPolicy`` does.

    :param kind: its class, which has methods of the same names
    :param distributions: classes of its ``action_dist``
    """
    _POLICIES[kind] = distributions


def register_extractor(kind: type[nn.Module], *parts: str) -> None:
    """Make a features extractor known as a chain.

    :param kind: its class
    :param parts: names of its attributes, ``nn.Sequential`` or layers, that it runs one after another
    :raises TypeError: if it is no class of modules
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"kind={kind!r}: give a class of torch.nn.Module, not an instance or a name.")
    _EXTRACTORS[kind] = parts


def overrides(instance: Any, base: type, names: tuple[str, ...]) -> bool:
    """Whether a class or an instance has replaced any of these methods of a base class."""
    return any(name in vars(instance) or getattr(type(instance), name) is not getattr(base, name) for name in names)


def has_stock_methods(policy: ActorCriticPolicy) -> bool:
    """Whether actions, distributions and values come from SB3's own methods, on whatever network."""
    distribution = policy.action_dist
    if replaced_methods(distribution) or not is_untouched(policy):
        return False
    return any(
        isinstance(policy, kind) and type(distribution) in own and not overrides(policy, kind, _METHODS)
        for kind, own in _POLICIES.items()
    )


def explores_by_state(policy: ActorCriticPolicy) -> bool:
    """Whether its noise is gSDE's."""
    return getattr(policy, "use_sde", False)


def is_stock_policy(policy: ActorCriticPolicy) -> bool:
    """Whether also every module is of PyTorch's, SB3's or this package's classes, untouched.

    Such a network draws no noise in eval mode, counts no calls, and uses no parameter but through the module that has it.
    """
    return all(map(_is_stock_module, list(policy.modules())[1:])) and has_stock_methods(policy)


def _is_stock_module(module: nn.Module) -> bool:
    return type(module).__module__.startswith(_LIBRARIES) and is_untouched(module)


def has_stock_head(policy: ActorCriticPolicy) -> bool:
    """Whether values are a function of the features alone, whatever these are: SB3's own methods and networks."""
    if not has_stock_methods(policy) or type(policy.mlp_extractor) is not MlpExtractor:
        return False
    return all(map(_is_stock_module, (*policy.mlp_extractor.modules(), *policy.value_net.modules())))


@dataclass(frozen=True)
class ActorChain:
    """An actor as a chain of known layers.

    :param layers: from inputs to the mean or the logits
    :param inputs: what enters the layers, given observations
    :param log_std: log σ ``[d]`` of a Gaussian, else None
    """

    layers: list[nn.Module]
    inputs: Callable[[PyTorchObs], th.Tensor]
    log_std: nn.Parameter | None


def actor_chain(policy: ActorCriticPolicy) -> ActorChain | None:
    """The actor as a chain, if it is one."""
    if not has_stock_methods(policy) or explores_by_state(policy):
        return None
    extractor, network = policy.pi_features_extractor, policy.mlp_extractor
    parts = [getattr(extractor, name) for name in _EXTRACTORS.get(type(extractor), ())]
    if not parts or type(network) is not MlpExtractor or not all(map(is_untouched, (extractor, network))):
        return None
    layers = [*_unfolded([*parts, network.policy_net]), policy.action_net]
    log_std = policy.log_std if isinstance(policy.action_dist, sb3.DiagGaussianDistribution) else None
    if log_std is not None and tuple(log_std.shape) != (get_action_dim(policy.action_space),):
        return None  # one that is broadcast over actions
    if type(extractor) is FlattenExtractor and is_mlp(layers[1:]) and _is_flatten(layers[0]):
        return ActorChain(layers[1:], lambda obs: _features(policy, obs), log_std)
    space = policy.observation_space
    if is_mlp(layers) and type(space) is spaces.Box and len(space.shape) == 1:
        return ActorChain(layers, lambda obs: _floats(policy, obs), log_std)
    return ActorChain(layers, lambda obs: _pictures(policy, obs), log_std) if is_cnn(layers) else None


def critic_chain(policy: ActorCriticPolicy) -> list[nn.Module]:
    """Known layers from features to the value; none where the critic may do anything else."""
    if not has_stock_head(policy):
        return []
    layers = [*_unfolded([policy.mlp_extractor.value_net]), policy.value_net]
    return layers if is_mlp(layers) else []


def numpy_chain(policy: ActorCriticPolicy) -> ActorChain | None:
    """The actor as a chain that NumPy can run, if it is one: an MLP on vectors, Gaussian or categorical, on the CPU."""
    chain = actor_chain(policy)
    vectors = type(policy.observation_space) is spaces.Box and not is_image_space(policy.observation_space)
    one_draw = isinstance(policy.action_dist, (sb3.DiagGaussianDistribution, sb3.CategoricalDistribution))
    if chain is None or not (vectors and one_draw and is_mlp(chain.layers)):
        return None
    weights = [weight for layer in chain.layers for weight in layer.parameters()]
    return chain if all(weight.device.type == "cpu" and weight.dtype == th.float32 for weight in weights) else None


def _unfolded(modules: list[nn.Module]) -> list[nn.Module]:
    """The modules, with the children of plain ``nn.Sequential`` in their place."""
    return [layer for module in modules for layer in (module.children() if is_sequential(module) else [module])]


def _is_flatten(module: nn.Module) -> bool:
    return type(module) is nn.Flatten and is_untouched(module) and (module.start_dim, module.end_dim) == (1, -1)


@th.no_grad()
def _features(policy: ActorCriticPolicy, observations: PyTorchObs) -> th.Tensor:
    return BasePolicy.extract_features(policy, observations, policy.pi_features_extractor)


@th.no_grad()
def _floats(policy: ActorCriticPolicy, observations: PyTorchObs) -> th.Tensor:
    return preprocess_obs(observations, policy.observation_space, normalize_images=policy.normalize_images)  # type: ignore[return-value]


def _pictures(policy: ActorCriticPolicy, observations: PyTorchObs) -> th.Tensor:
    """Images of floats, with channels last in memory, where convolutions are faster."""
    return _floats(policy, observations).contiguous(memory_format=th.channels_last)
