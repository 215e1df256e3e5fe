"""The map from θ to distribution parameters, linearised at θ₀: Jacobian products for the Fisher matrix (appendix C)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch as th
from torch import nn

from sb3_trpo import plain_network


def flatten(tensors: Sequence[th.Tensor]) -> th.Tensor:
    """Tensors of any shapes as one vector, in order."""
    return th.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: th.Tensor, like: Sequence[th.Tensor]) -> list[th.Tensor]:
    """Inverse of :func:`flatten`: views of ``vector`` in the shapes of ``like``."""
    parts = vector.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


class Linearization(Protocol):
    """J of some states, ``at`` being their distribution parameters ``[B, P]`` at θ₀, from which autograd can start."""

    at: th.Tensor

    def gradient(self, value: th.Tensor, keep: bool) -> th.Tensor:
        """∇_θ of a scalar computed from the distribution with these parameters, flat ``[N]``.

        :param value: the scalar, with its graph
        :param keep: whether products will be asked for afterwards; if not, memory is freed on the way
        """
        ...

    def jvp(self, vector: th.Tensor) -> th.Tensor:
        """J v ``[B, P]`` for a flat v ``[N]``."""
        ...

    def vjp(self, cotangent: th.Tensor) -> th.Tensor:
        """Jᵀu, flat ``[N]``, for u of shape ``[B, P]``."""
        ...


class AutogradLinearization:
    """Of any network: J v is had by differentiating u ↦ Jᵀu, which is linear, with respect to u.

    Reverse mode alone, whatever the network is made of; the graph built here serves every product.

    :param outputs: distribution parameters ``[B, P]``, with their graph
    :param parameters: the tensors that make up θ; every one of them must reach ``outputs``
    """

    def __init__(self, outputs: th.Tensor, parameters: Sequence[th.Tensor]):
        self.at, self._parameters = outputs, parameters

    @cached_property
    def _pullback(self) -> tuple[th.Tensor, Sequence[th.Tensor]]:
        """u and Jᵀu, with the graph between them."""
        probe = th.zeros_like(self.at, requires_grad=True)
        return probe, th.autograd.grad(self.at, self._parameters, grad_outputs=probe, create_graph=True)

    def gradient(self, value: th.Tensor, keep: bool) -> th.Tensor:
        return flatten(th.autograd.grad(value, self._parameters, retain_graph=keep))

    def jvp(self, vector: th.Tensor) -> th.Tensor:
        probe, pullback = self._pullback
        tangents = unflatten(vector, self._parameters)
        return th.autograd.grad(pullback, probe, grad_outputs=tangents, retain_graph=True)[0]

    def vjp(self, cotangent: th.Tensor) -> th.Tensor:
        return flatten(th.autograd.grad(self.at, self._parameters, grad_outputs=cotangent, retain_graph=True))


class PlainLinearization:
    """Of a plain network: forward and reverse mode written out, several times faster on small networks and convolutions.

    :param modules: the network from its inputs to the distribution's parameters, or to the mean of a Gaussian
    :param inputs: ``[B, …]``
    :param log_std: log σ ``[d]`` of a Gaussian whose deviation does not depend on the state, else None
    :param parameters: the tensors that make up θ, in order: exactly the network's and ``log_std``
    """

    @th.no_grad()
    def __init__(
        self, modules: Sequence[nn.Module], inputs: th.Tensor, log_std: th.Tensor | None, parameters: Sequence[th.Tensor]
    ):
        weights = [parameter for module in modules for parameter in module.parameters()]
        self._modules, self._weights = modules, [plain_network.like(inputs, weight.detach()) for weight in weights]
        self._outputs = plain_network.forward(modules, self._weights, inputs)
        mean = self._outputs[-1]
        self.at = mean if log_std is None else th.cat([mean, log_std.detach().expand_as(mean)], dim=1)
        self.at.requires_grad_()
        # A vector is copied to where views of it exist already: on a small network, cutting it up anew takes longest.
        order = {id(parameter): index for index, parameter in enumerate(parameters)}
        self._flat = mean.new_empty(sum(parameter.numel() for parameter in parameters))
        parts = unflatten(self._flat, parameters)
        self._parts = [parts[order[id(weight)]] for weight in weights]
        self._log_std_part = None if log_std is None else parts[order[id(log_std)]]

    def gradient(self, value: th.Tensor, keep: bool) -> th.Tensor:
        return self.vjp(th.autograd.grad(value, self.at)[0])

    @th.no_grad()
    def jvp(self, vector: th.Tensor) -> th.Tensor:
        self._flat.copy_(vector)
        # The inputs do not move with θ, so the first layer, which has weights, has only the tangents of those.
        tangent = plain_network.apply(self._modules[0], self._outputs[0], *self._parts[:2])
        position = 2
        for module, inputs, value in zip(self._modules[1:], self._outputs[1:-1], self._outputs[2:], strict=True):
            if plain_network.has_weights(module):
                moved = plain_network.apply(module, inputs, *self._parts[position : position + 2])
                tangent = plain_network.add_applied(moved, module, tangent, self._weights[position])
                position += 2
            elif isinstance(module, nn.Flatten):
                tangent = tangent.flatten(1)
            else:
                tangent = plain_network.through(module, value, tangent)
        if self._log_std_part is None:
            return tangent
        return th.cat([tangent, self._log_std_part.expand_as(tangent)], dim=1)

    @th.no_grad()
    def vjp(self, cotangent: th.Tensor) -> th.Tensor:
        if self._log_std_part is not None:
            cotangent, of_log_std = cotangent.chunk(2, dim=1)
            th.sum(of_log_std, dim=0, out=self._log_std_part)
        plain_network.backward(self._modules, self._weights, self._outputs, cotangent, self._parts)
        return self._flat.clone()
