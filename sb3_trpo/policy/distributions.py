"""What is known of each kind of action distribution: its family, its parameters, and an action as a function of noise.

A kind is one class below, its *adapter*, and one line in a table. Users add theirs with :func:`register_distribution`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch as th
from stable_baselines3.common import distributions as sb3
from torch.distributions import Bernoulli, Beta, Categorical, Distribution, Independent, Normal

from sb3_trpo import trust_region
from sb3_trpo.policy.masks import MaskedCategorical, MaskedMultiCategorical


class ActionDistribution(Protocol):
    """One kind of action distribution, in the sizes of one example.

    :param distribution: the example, as ``policy.get_distribution`` returns it for some observations
    """

    family: trust_region.DistributionFamily

    def __init__(self, distribution: sb3.Distribution): ...

    def parameters(self, distribution: sb3.Distribution) -> th.Tensor:
        """φ of each state, in the order that the family expects.

        :param distribution: in B states
        :return: ``[B, P]``, with their graph
        """
        ...

    def noise(self, leading: Sequence[int], generator: th.Generator | None = None) -> th.Tensor:
        """Noise for many actions.

        With ``leading`` the batch's size and PyTorch's global generator, these are the very numbers that the
        distribution's own ``sample`` draws.

        :param leading: how many actions, in any dimensions
        :param generator: of the random numbers; None for PyTorch's global one
        :return: ``[*leading, …]``, on the CPU
        """
        ...

    def act(self, distribution: sb3.Distribution, noise: th.Tensor, log_std: th.Tensor | None) -> th.Tensor:
        """The actions ``[B, …]``, a function of state and noise: what ``sample`` returns for that noise.

        :param distribution: in B states
        :param noise: ``[B, …]``
        :param log_std: the policy's parameter of that name, if it has one
        """
        ...


def factors_of(distribution: sb3.Distribution) -> list[Any]:
    """PyTorch's distributions behind an action distribution: one for all action components, or one for each."""
    inner: Any = distribution.distribution
    factors = inner if isinstance(inner, (list, tuple)) else [inner]
    return [factor.base_dist if isinstance(factor, Independent) else factor for factor in factors]


def _rows(values: th.Tensor) -> th.Tensor:
    """``[B, …]`` as ``[B, n]``: a distribution may have any dimensions after the first."""
    return values.reshape(len(values), -1)


class Gaussians:
    """Independent normals: mean + σ ε, ε standard normal."""

    def __init__(self, distribution: sb3.Distribution):
        self.family = trust_region.DiagonalGaussian()
        self.shape = tuple(factors_of(distribution)[0].mean.shape[1:])

    def parameters(self, distribution: sb3.Distribution) -> th.Tensor:
        (normal,) = factors_of(distribution)
        return th.cat([_rows(normal.mean), _rows(normal.stddev).log()], dim=1)

    def noise(self, leading: Sequence[int], generator: th.Generator | None = None) -> th.Tensor:
        return self.redraw(th.empty((*leading, *self.shape), device="cpu"), generator)

    def redraw(self, noise: th.Tensor, generator: th.Generator | None = None) -> th.Tensor:
        return noise.normal_(generator=generator)

    def act(self, distribution: sb3.Distribution, noise: th.Tensor, log_std: th.Tensor | None) -> th.Tensor:
        (normal,) = factors_of(distribution)
        return normal.mean + normal.stddev * noise


class StateDependentGaussians(Gaussians):
    """gSDE's: mean + φ(s) (E ∘ σ), E a standard normal exploration matrix ``[latent, d]``."""

    def __init__(self, distribution: sb3.StateDependentNoiseDistribution):
        super().__init__(distribution)
        self.shape = (int(distribution.latent_sde_dim), int(distribution.action_dim))  # type: ignore[arg-type]

    def act(self, distribution: Any, noise: th.Tensor, log_std: th.Tensor | None) -> th.Tensor:
        matrices = noise * distribution.get_std(log_std)
        actions = distribution.distribution.mean + th.einsum("bl,bld->bd", distribution._latent_sde, matrices)
        return actions if distribution.bijector is None else distribution.bijector.forward(actions)


class Categoricals:
    """Independent categoricals: the category with the largest p/q, q exponential (an exponential race)."""

    def __init__(self, distribution: sb3.Distribution):
        shapes = [factor.logits.shape[1:] for factor in factors_of(distribution)]
        self.sizes = tuple(shape[-1] for shape in shapes for _ in range(shape[:-1].numel()))
        self.family = trust_region.Categorical(self.sizes)
        self._several = isinstance(distribution.distribution, (list, tuple))

    def parameters(self, distribution: sb3.Distribution) -> th.Tensor:
        return th.cat([_rows(factor.logits) for factor in factors_of(distribution)], dim=1)

    def noise(self, leading: Sequence[int], generator: th.Generator | None = None) -> th.Tensor:
        blocks = [self.redraw(th.empty((*leading, size), device="cpu"), generator) for size in self.sizes]
        return th.cat(blocks, dim=-1) if self._several else blocks[0]

    def redraw(self, noise: th.Tensor, generator: th.Generator | None = None) -> th.Tensor:
        return noise.exponential_(generator=generator)

    def act(self, distribution: sb3.Distribution, noise: th.Tensor, log_std: th.Tensor | None) -> th.Tensor:
        blocks = zip(factors_of(distribution), noise.split(self.sizes, dim=1), strict=True)
        chosen = [(factor.probs / block).argmax(dim=1) for factor, block in blocks]
        return th.stack(chosen, dim=1) if self._several else chosen[0]


class Bernoullis:
    """Independent coins: 1 where u < p, u uniform."""

    def __init__(self, distribution: sb3.Distribution):
        self.family = trust_region.Bernoulli()
        self.shape = tuple(factors_of(distribution)[0].logits.shape[1:])

    def parameters(self, distribution: sb3.Distribution) -> th.Tensor:
        return _rows(factors_of(distribution)[0].logits)

    def noise(self, leading: Sequence[int], generator: th.Generator | None = None) -> th.Tensor:
        return th.empty((*leading, *self.shape), device="cpu").uniform_(generator=generator)

    def act(self, distribution: sb3.Distribution, noise: th.Tensor, log_std: th.Tensor | None) -> th.Tensor:
        return (noise < factors_of(distribution)[0].probs).float()


class Betas:
    """Independent betas, whose samples PyTorch makes by rejection: no function of a fixed amount of noise."""

    def __init__(self, distribution: sb3.Distribution):
        self.family = trust_region.Beta()

    def parameters(self, distribution: sb3.Distribution) -> th.Tensor:
        (beta,) = factors_of(distribution)
        return th.cat([_rows(beta.concentration1), _rows(beta.concentration0)], dim=1).log()


# Action distributions by their own class: exactly these are also drawn from here
_BY_CLASS: dict[type, Any] = {
    sb3.DiagGaussianDistribution: Gaussians,
    sb3.StateDependentNoiseDistribution: StateDependentGaussians,
    sb3.CategoricalDistribution: Categoricals,
    sb3.MultiCategoricalDistribution: Categoricals,
    MaskedCategorical: Categoricals,
    MaskedMultiCategorical: Categoricals,
    sb3.BernoulliDistribution: Bernoullis,
}
# Any other, by what of PyTorch's it is made of: for KL and Fisher matrix alone, because it may transform its samples
_BY_FACTOR: dict[type[Distribution], Any] = {
    Normal: Gaussians,
    Categorical: Categoricals,
    Bernoulli: Bernoullis,
    Beta: Betas,
}


def register_distribution(kind: type, adapter: Any) -> None:
    """Make a kind of action distribution known, in place of what is known of it.

    :param kind: a subclass of SB3's ``Distribution``, which this package will also draw from, or a class of PyTorch's
        ``Distribution``, for every action distribution that is made of it
    :param adapter: a class with the methods of :class:`ActionDistribution`; without ``noise`` and ``act``, the vine refuses it
    """
    (_BY_CLASS if issubclass(kind, sb3.Distribution) else _BY_FACTOR)[kind] = adapter


def draws(distribution: sb3.Distribution) -> bool:
    """Whether an action of this distribution is known as a function of noise."""
    return hasattr(_BY_CLASS.get(type(distribution)), "act")


def action_distribution(distribution: sb3.Distribution) -> ActionDistribution:
    """What is known of a distribution.

    :param distribution: as ``policy.get_distribution`` returns it
    :raises TypeError: if its KL divergence and Fisher matrix are not known
    """
    adapter = _BY_CLASS.get(type(distribution))
    if adapter is not None:
        return adapter(distribution)
    factors = factors_of(distribution)
    for kind, adapter in _BY_FACTOR.items():
        # A subclass with a density of its own, such as a truncated normal, has another KL divergence
        same_density = all(isinstance(factor, kind) and type(factor).log_prob is kind.log_prob for factor in factors)
        if same_density and (len(factors) == 1 or adapter is Categoricals):
            return adapter(distribution)
    names = " and ".join(sorted({type(factor).__name__ for factor in factors}))
    raise TypeError(
        f"TRPO knows no Fisher matrix for the action distribution {type(distribution).__name__}, which is made of PyTorch's "
        f"{names}. Use a policy whose get_distribution returns one with a Normal, Beta, Bernoulli or Categorical, or several "
        "Categoricals, in its attribute 'distribution', or with subclasses that leave log_prob as it is; or register yours "
        "with sb3_trpo.policy.register_distribution."
    )
