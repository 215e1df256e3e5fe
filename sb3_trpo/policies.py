"""SB3 policies as TRPO sees them: which parameters make up θ, and what distribution θ gives in each state."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from itertools import chain
from threading import RLock
from typing import Any

import torch as th
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from sb3_trpo.atari.network import PaperCnn
from sb3_trpo.influence import influential
from sb3_trpo.plain_network import is_chain, is_plain_cnn, is_plain_mlp, is_untouched
from sb3_trpo.rollouts import actor_layers, has_deviation_for_each_action, is_stock_policy, select
from sb3_trpo.trust_region import (
    AutogradLinearization,
    Bernoulli,
    Beta,
    Categorical,
    DiagonalGaussian,
    DistributionFamily,
    Linearization,
    PlainLinearization,
    flatten,
    unflatten,
)

MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy


# PyTorch's choice of an attention kernel is the whole process's: one thread at a time may change it and change it back
_choosing_kernel = RLock()

# Features extractors whose work is known layer by layer; SB3's own way of taking observations comes before it
PLAIN_EXTRACTORS: dict[type[nn.Module], tuple[str, ...]] = {
    FlattenExtractor: (),
    NatureCNN: ("cnn", "linear"),
    PaperCnn: ("layers",),
}


def _factors(distribution: sb3.Distribution) -> list[th.distributions.Distribution]:
    """The distributions of PyTorch's that an action distribution is made of, for all actions at once or one by one."""
    inner: Any = distribution.distribution
    factors = inner if isinstance(inner, (list, tuple)) else [inner]
    return [factor.base_dist if isinstance(factor, th.distributions.Independent) else factor for factor in factors]


def _has_density_of(factor: th.distributions.Distribution, kind: type[th.distributions.Distribution]) -> bool:
    """Whether it is of the kind, and no subclass with a density of its own, such as a truncated normal."""
    return isinstance(factor, kind) and type(factor).log_prob is kind.log_prob


def distribution_family(distribution: sb3.Distribution) -> DistributionFamily:
    """The family of an action distribution, by what of PyTorch's is behind it.

    :raises TypeError: for a distribution whose Fisher matrix is not known here
    """
    factors = _factors(distribution)
    if all(_has_density_of(factor, th.distributions.Categorical) for factor in factors):
        return Categorical(tuple(factor.logits.shape[1] for factor in factors))  # type: ignore[attr-defined]
    for kind, family in _FAMILIES.items():
        if len(factors) == 1 and _has_density_of(factors[0], kind):
            return family
    names = " and ".join(sorted({type(factor).__name__ for factor in factors}))
    raise TypeError(
        f"TRPO knows no Fisher matrix for the action distribution {type(distribution).__name__}, which is made of PyTorch's "
        f"{names}. Use a policy whose get_distribution returns one with a Normal, Beta, Bernoulli or Categorical, or several "
        "Categoricals, in its attribute 'distribution', or with subclasses that leave log_prob as it is."
    )


_FAMILIES: dict[type[th.distributions.Distribution], DistributionFamily] = {
    th.distributions.Normal: DiagonalGaussian(),
    th.distributions.Bernoulli: Bernoulli(),
    th.distributions.Beta: Beta(),
}


def distribution_parameters(distribution: sb3.Distribution) -> th.Tensor:
    """φ of each state, shape ``[B, P]``, in the order :mod:`sb3_trpo.trust_region.distributions` expects.

    Read at once: ``policy.get_distribution`` hands out one object that the next call overwrites.
    """
    factors = _factors(distribution)
    if isinstance(factors[0], th.distributions.Normal):
        return th.cat([factors[0].mean, factors[0].stddev.log()], dim=1)
    if isinstance(factors[0], th.distributions.Beta):
        return th.cat([factors[0].concentration1, factors[0].concentration0], dim=1).log()
    return th.cat([factor.logits for factor in factors], dim=1)  # type: ignore[attr-defined]


@contextmanager
def _own_distribution(policy: ActorCriticPolicy) -> Iterator[None]:
    """Keep a distribution with a graph out of the policy, which could not be deep-copied with it."""
    kept = policy.action_dist
    policy.action_dist = copy(kept)
    try:
        yield
    finally:
        policy.action_dist = kept


class Actor:
    """The part of a policy that chooses actions: θ and the modules it lives in, found by running it.

    A parameter belongs to θ if a gradient reaches it from the distribution's parameters; names play no part.
    ``activations`` is the number of values the actor's modules put out for one state.

    :param policy: any SB3 actor-critic policy
    :param observations: a batch the policy can be evaluated on; its first row is used
    :raises TypeError: for an action distribution without a known Fisher matrix
    :raises ValueError: if no gradient reaches any parameter from the distribution
    """

    def __init__(self, policy: ActorCriticPolicy, observations: PyTorchObs):
        self.policy = policy
        self.modules: set[nn.Module] = set()
        self.activations = 0
        hooks = [
            module.register_forward_hook(self._note)
            for module in policy.modules()
            if not isinstance(module, th.jit.ScriptModule)  # takes none
        ]
        try:
            with _own_distribution(policy):
                distribution = policy.get_distribution(select(observations, slice(1)))
        finally:
            for hook in hooks:
                hook.remove()
        self.family = distribution_family(distribution)
        outputs = distribution_parameters(distribution)
        self.n_outputs = outputs.shape[1]
        candidates = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        if not outputs.requires_grad:
            raise ValueError("Nothing in the policy's actor can be trained: set requires_grad on some of its parameters.")
        reached = th.autograd.grad(outputs.sum(), candidates, allow_unused=True)
        self.parameters = [p for p, gradient in zip(candidates, reached, strict=True) if gradient is not None]
        self._plain_layers = self._find_plain_layers()

    def _note(self, module: nn.Module, _: tuple, output: Any) -> None:
        self.modules.add(module)
        self.activations += output.numel() if isinstance(output, th.Tensor) else 0

    def linearize(self, observations: PyTorchObs) -> tuple[Linearization, sb3.Distribution]:
        """The distribution's parameters as a linear map of θ, for some states, and the distribution to differentiate there.

        By hand where the network is a plain one.
        """
        if self._plain_layers is None:
            # Of attention's kernels, MATH alone can be differentiated twice
            with _own_distribution(self.policy), _choosing_kernel, sdpa_kernel(SDPBackend.MATH):
                distribution = self.policy.get_distribution(observations)
            return AutogradLinearization(distribution_parameters(distribution), self.parameters), distribution
        log_std = getattr(self.policy, "log_std", None)
        linearization = PlainLinearization(self._plain_layers, self._inputs(observations), log_std, self.parameters)
        arguments = (linearization.at,) if log_std is None else linearization.at.chunk(2, dim=1)
        return linearization, copy(self.policy.action_dist).proba_distribution(*arguments)

    @th.no_grad()
    def _inputs(self, observations: PyTorchObs) -> th.Tensor:
        """What enters the plain layers: flat observations, or pictures of floats with channels last in memory."""
        policy = self.policy
        if type(policy.pi_features_extractor) is FlattenExtractor:
            return BasePolicy.extract_features(policy, observations, policy.pi_features_extractor)
        pictures = preprocess_obs(observations, policy.observation_space, normalize_images=policy.normalize_images)
        return pictures.contiguous(memory_format=th.channels_last)  # type: ignore[union-attr]

    def _find_plain_layers(self) -> list[nn.Module] | None:
        """Layers from observations to distribution parameters, if they are of known kinds and all that θ consists of."""
        policy = self.policy
        extractor = policy.pi_features_extractor
        if type(extractor) not in PLAIN_EXTRACTORS or not actor_layers(policy) or not has_deviation_for_each_action(policy):
            return None
        chains = [getattr(extractor, name) for name in PLAIN_EXTRACTORS[type(extractor)]]
        known = is_stock_policy(policy) and not policy.use_sde and all(map(is_chain, chains))
        if not known or not all(map(is_untouched, [policy, *extractor.modules()])):
            return None
        layers = [*chain.from_iterable(chains), *actor_layers(policy)]
        own = {id(parameter) for layer in layers for parameter in layer.parameters()}
        own |= {id(policy.log_std)} if hasattr(policy, "log_std") else set()
        plain = is_plain_mlp(layers) or is_plain_cnn(layers)
        return layers if plain and own == {id(parameter) for parameter in self.parameters} else None

    @property
    def theta(self) -> th.Tensor:
        """θ as one vector ``[N]``, a copy."""
        return flatten([parameter.detach() for parameter in self.parameters])

    def assign(self, theta: th.Tensor) -> None:
        """Write θ into the policy: one call, which Ctrl-C cannot interrupt half-way."""
        with th.no_grad():
            th._foreach_copy_([*self.parameters], list(unflatten(theta, self.parameters)))

    @contextmanager
    def at(self, theta: th.Tensor) -> Iterator[None]:
        """Let the policy stand at another θ for a while; the parameters' own storage is never written to."""
        own = [parameter.data for parameter in self.parameters]
        try:
            for parameter, value in zip(self.parameters, unflatten(theta, self.parameters), strict=True):
                parameter.data = value
            yield
        finally:
            for parameter, data in zip(self.parameters, own, strict=True):
                parameter.data = data

    def critic_parameters(self, observations: PyTorchObs) -> list[nn.Parameter]:
        """What the critic may move: parameters its value reaches and nothing the actor depends on.

        The actor depends on θ, and on parameters that no gradient reaches (detached features).

        :param observations: a batch the policy can be evaluated on; its first row is used
        """
        theta = {id(parameter) for parameter in self.parameters}
        candidates = [p for p in self.policy.parameters() if p.requires_grad and id(p) not in theta]
        observation = select(observations, slice(1))
        values = self.policy.predict_values(observation)
        if not (candidates and values.requires_grad):
            return []
        reached = th.autograd.grad(values.sum(), candidates, allow_unused=True)
        found = [parameter for parameter, gradient in zip(candidates, reached, strict=True) if gradient is not None]
        run = {id(parameter) for module in self.modules for parameter in module.parameters(recurse=False)}
        doubtful = [parameter for parameter in found if id(parameter) in run]
        if doubtful:  # detached features, or a network that computes the value on the way: the flow of data tells
            with _own_distribution(self.policy):
                used = influential(lambda: distribution_parameters(self.policy.get_distribution(observation)), doubtful)
            found = [parameter for parameter in found if id(parameter) not in used]
        return found

    @property
    def has_running_statistics(self) -> bool:
        """Whether it normalises over batches and means to keep count of their moments."""
        return any(isinstance(module, _NormBase) and module.track_running_stats for module in self.modules)

    def keep_in_eval_mode(self) -> None:
        """Put the modules the actor runs in eval mode, so that training the critic leaves their statistics alone."""
        for module in self.modules:
            module.training = False
