"""Policies as users write them: what the actor uses is called, compiled, shared, tied or counted in all kinds of ways."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

N = 8  # features


class Net(nn.Module):
    """An extractor whose critic learns a shared part, which the actor uses behind a detach.

    :param n_inputs: features that come in
    """

    latent_dim_pi = latent_dim_vf = N

    def __init__(self, n_inputs: int):
        super().__init__()
        self.pi, self.vf = nn.Linear(N, N), nn.Linear(N, N)
        self.build(n_inputs)

    def build(self, n: int) -> None:
        self.W = nn.Parameter(0.5 * th.randn(n, N))

    def shared(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(x @ self.W)

    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return self.shared(x).detach()

    def forward(self, x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(x), self.forward_critic(x)

    def forward_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.pi(self.for_actor(x)))

    def forward_critic(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.vf(self.shared(x)))


class Functional(Net):
    """The actor multiplies by the critic's parameter."""


class NoGrad(Net):
    def for_actor(self, x: th.Tensor) -> th.Tensor:
        with th.no_grad():
            return self.shared(x)


class Data(Net):
    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(x @ self.W.data)


class OfNumpy(Net):
    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(x @ th.from_numpy(self.W.detach().numpy()))


class WithModule(Net):
    """The shared part is a module."""

    def build(self, n: int) -> None:
        self.features = nn.Linear(n, N)

    def shared(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.features(x))


class CalledByForward(WithModule):
    """Around ``__call__``, and so around hooks."""

    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.features.forward(x)).detach()


class FunctionalLinear(WithModule):
    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(nn.functional.linear(x, self.features.weight.detach(), self.features.bias.detach()))


class Encoder(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        self.layer = nn.Linear(n, N)

    def encode(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.layer.forward(x))

    def forward(self, x: th.Tensor) -> th.Tensor:
        return self.encode(x)


class AMethodOfIt(Net):
    """A method other than ``forward`` of a module that is called for something else."""

    def build(self, n: int) -> None:
        self.features = Encoder(n)

    def shared(self, x: th.Tensor) -> th.Tensor:
        return self.features(x)

    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return self.features.encode(x).detach()


class Scripted(Net):
    def build(self, n: int) -> None:
        self.features = th.jit.script(nn.Sequential(nn.Linear(n, N), nn.Tanh()))

    def shared(self, x: th.Tensor) -> th.Tensor:
        return self.features(x)


class Compiled(Net):
    def build(self, n: int) -> None:
        self.features = th.compile(Encoder(n), backend="eager")

    def shared(self, x: th.Tensor) -> th.Tensor:
        return self.features(x)


class SharedMemory(Net):
    """One memory under two parameters."""

    def build(self, n: int) -> None:
        self.W, self.for_pi = nn.Parameter(0.5 * th.randn(n, N)), nn.Parameter(th.zeros(n, N))
        self.for_pi.data = self.W.data

    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(x @ self.for_pi)


class SharedFrozenMemory(SharedMemory):
    def build(self, n: int) -> None:
        super().build(n)
        self.for_pi.requires_grad_(False)


class SharedBuffer(Net):
    """A buffer is a view of the actor's own weight, so that the actor moves twice."""

    def build(self, n: int) -> None:
        super().build(n)
        self.register_buffer("alias", self.pi.weight.data)

    def forward_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.pi(self.for_actor(x)) + 3.0 * self.for_actor(x) @ self.alias)


class TwoUnderOneMemory(Net):
    """Both of the actor's parameters are one memory."""

    def build(self, n: int) -> None:
        super().build(n)
        self.pi2 = nn.Linear(N, N)
        self.pi2.weight.data = self.pi.weight.data

    def forward_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.pi2(super().forward_actor(x)))


class Tied(Net):
    """One parameter under two names, of the actor."""

    def build(self, n: int) -> None:
        super().build(n)
        self.pi2 = nn.Linear(N, N)
        self.pi2.weight = self.pi.weight

    def forward_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.pi2(super().forward_actor(x)))


class TiedHeads(Net):
    """One parameter under two names, the actor's and the critic's."""

    def build(self, n: int) -> None:
        super().build(n)
        self.vf.weight = self.pi.weight


class PartlyFrozen(WithModule):
    def build(self, n: int) -> None:
        super().build(n)
        self.features.weight.requires_grad_(False)
        self.pi.bias.requires_grad_(False)


class WithMean(Net):
    """Normalises by a running mean of its inputs that it updates while it trains."""

    def build(self, n: int) -> None:
        super().build(n)
        self.keep(th.zeros(n))

    def keep(self, mean: th.Tensor) -> None:
        self.register_buffer("mean", mean)

    def shared(self, x: th.Tensor) -> th.Tensor:
        if self.training:
            self.update(x.detach().mean(dim=0))
        return super().shared(x - th.as_tensor(self.mean, dtype=x.dtype))

    def update(self, mean: th.Tensor) -> None:
        self.mean.mul_(0.9).add_(mean, alpha=0.1)

    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return Net.shared(self, x - th.as_tensor(self.mean, dtype=x.dtype)).detach()


class ReboundBuffer(WithMean):
    def update(self, mean: th.Tensor) -> None:
        self.mean = 0.9 * self.mean + 0.1 * mean


class PlainTensor(ReboundBuffer):
    def keep(self, mean: th.Tensor) -> None:
        self.mean = mean


class PlainArray(WithMean):
    def keep(self, mean: th.Tensor) -> None:
        self.mean = mean.numpy().copy()

    def update(self, mean: th.Tensor) -> None:
        self.mean *= 0.9
        self.mean += 0.1 * mean.numpy()


class PlainNumber(WithMean):
    def keep(self, mean: th.Tensor) -> None:
        self.mean = 0.0

    def update(self, mean: th.Tensor) -> None:
        self.mean = 0.9 * self.mean + 0.1 * float(mean.mean())


class BatchNormByForward(Net):
    def build(self, n: int) -> None:
        super().build(n)
        self.norm = nn.BatchNorm1d(n)

    def shared(self, x: th.Tensor) -> th.Tensor:
        return super().shared(self.norm.forward(x))


class BatchNorm(Net):
    def build(self, n: int) -> None:
        super().build(n)
        self.norm = nn.BatchNorm1d(n)

    def shared(self, x: th.Tensor) -> th.Tensor:
        return super().shared(self.norm(x))


class Learned(Net):
    """Nothing is detached: what is shared is the actor's."""

    def for_actor(self, x: th.Tensor) -> th.Tensor:
        return self.shared(x)


class GruSteps(Learned):
    def build(self, n: int) -> None:
        self.cell, self.inwards = nn.GRUCell(N, N), nn.Linear(n, N)

    def shared(self, x: th.Tensor) -> th.Tensor:
        inputs, state = self.inwards(x), x.new_zeros(len(x), N)
        for _ in range(3):
            state = self.cell(inputs, state)
        return state


class DetachedLstm(Net):
    def build(self, n: int) -> None:
        self.lstm = nn.LSTM(n, N, batch_first=True)

    def shared(self, x: th.Tensor) -> th.Tensor:
        return self.lstm(x[:, None])[0][:, 0]


class Attention(Learned):
    def build(self, n: int) -> None:
        self.inwards, self.attention = nn.Linear(1, N), nn.MultiheadAttention(N, 2, batch_first=True)

    def shared(self, x: th.Tensor) -> th.Tensor:
        tokens = self.inwards(x[:, :, None])
        return self.attention(tokens, tokens, tokens)[0].mean(dim=1)


class Dropout(WithModule):
    def shared(self, x: th.Tensor) -> th.Tensor:
        return nn.functional.dropout(super().shared(x), 0.3, self.training)


class LayerNorm(WithModule):
    def build(self, n: int) -> None:
        super().build(n)
        self.norm = nn.LayerNorm(N)

    def shared(self, x: th.Tensor) -> th.Tensor:
        return self.norm(super().shared(x))


class Spectral(WithModule):
    """A power iteration moves a buffer at every training pass."""

    def build(self, n: int) -> None:
        self.features = spectral_norm(nn.Linear(n, N))


class WeightNorm(WithModule):
    def build(self, n: int) -> None:
        self.features = weight_norm(nn.Linear(n, N))


class HyperNetwork(Net):
    """The critic's part makes the actor's weights."""

    def build(self, n: int) -> None:
        super().build(n)
        self.code, self.make = nn.Parameter(th.randn(N)), nn.Linear(N, N * N)

    def forward_actor(self, x: th.Tensor) -> th.Tensor:
        weights = self.make(self.code).detach().view(N, N)
        return th.tanh(self.pi(self.for_actor(x) @ weights))

    def forward_critic(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.vf(self.shared(x) @ self.make(self.code).view(N, N)))


class Blended(Net):
    """Actor and critic help each other, one of them behind a detach."""

    def forward_actor(self, x: th.Tensor) -> th.Tensor:
        return th.tanh(self.pi(self.for_actor(x)) + 0.5 * self.forward_critic(x).detach())


def of_net(net: type[Net], **attributes: Any) -> type[ActorCriticPolicy]:
    """A policy with this network."""

    def build(self: ActorCriticPolicy) -> None:
        self.mlp_extractor = net(self.features_dim)  # type: ignore[assignment]

    return type(net.__name__ + "Policy", (ActorCriticPolicy,), {"_build_mlp_extractor": build, **attributes})


class Head(nn.Linear):
    """A head with a scale that the other head learns, too."""

    scale: Callable[[], th.Tensor]

    def forward(self, x: th.Tensor) -> th.Tensor:
        return super().forward(x) * self.scale()


class OwnHeads(ActorCriticPolicy):
    """The value's weights decide about the size of actions."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = Head(self.mlp_extractor.latent_dim_pi, self.action_space.shape[0])  # type: ignore[index]
        self.action_net.scale = lambda: 1.0 + self.value_net.weight.detach().abs().mean() * 5.0
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class ValueInLogStd(ActorCriticPolicy):
    """The deviation follows a parameter of the critic's."""

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Any:
        shift = self.value_net.bias.detach()
        return self.action_dist.proba_distribution(self.action_net(latent_pi), self.log_std + shift)  # type: ignore[call-arg]


class PatchedAction(ActorCriticPolicy):
    """The mean is moved by the value."""

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Any:
        mean = self.action_net(latent_pi) + 0.1 * self.value_net(latent_pi).detach()
        return self.action_dist.proba_distribution(mean, self.log_std)  # type: ignore[call-arg]


class Features(BaseFeaturesExtractor):
    """Features with a normalisation of their own, without a module."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space, N)
        self.layer, self.seen = nn.Linear(observation_space.shape[0], N), np.zeros(1)

    def forward(self, x: th.Tensor) -> th.Tensor:
        if self.training:
            self.seen += len(x)
        return th.tanh(self.layer(x) / (1.0 + float(self.seen[0]) * 1e-4))


def _with_features(**others: Any) -> type[ActorCriticPolicy]:
    class FeaturesPolicy(ActorCriticPolicy):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **{**kwargs, "features_extractor_class": Features, **others})

    return FeaturesPolicy


class Stock(ActorCriticPolicy):
    pass


NETS = [
    *(Functional, NoGrad, Data, OfNumpy, CalledByForward, FunctionalLinear, AMethodOfIt, Scripted, Compiled),
    *(SharedMemory, SharedFrozenMemory, SharedBuffer, TwoUnderOneMemory, Tied, TiedHeads, PartlyFrozen),
    *(WithMean, ReboundBuffer, PlainTensor, PlainArray, PlainNumber, BatchNormByForward, BatchNorm),
    *(Learned, WithModule, GruSteps, DetachedLstm, Attention, Dropout, LayerNorm, Spectral, WeightNorm, HyperNetwork, Blended),
]
POLICIES: dict[str, type[ActorCriticPolicy]] = {
    **{net.__name__: of_net(net) for net in NETS},
    "OwnHeads": OwnHeads,
    "ValueInLogStd": ValueInLogStd,
    "PatchedAction": PatchedAction,
    "Features": _with_features(),
    "SeparateFeatures": _with_features(share_features_extractor=False),
    "Stock": Stock,
}
# Where nothing that the critic learns is used by the actor, or where it is found beforehand; elsewhere the outcome shows it
NOT_MOVED = {"SharedMemory", "Learned", "GruSteps", "Attention", "Stock", "Features", "SeparateFeatures"}
