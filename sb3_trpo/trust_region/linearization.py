"""The map from θ to distribution parameters, linearised at θ₀: Jacobian products for the Fisher matrix (appendix C)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch as th

HALF_PRECISION = (th.float16, th.bfloat16)


def flatten(tensors: Sequence[th.Tensor]) -> th.Tensor:
    """Tensors as one vector, in order; half precision becomes single, because sums over N need it.

    :param tensors: of any shapes, N numbers together
    :return: ``[N]``
    """
    vector = th.cat([tensor.reshape(-1) for tensor in tensors])
    return vector.float() if vector.dtype in HALF_PRECISION else vector


def unflatten(vector: th.Tensor, like: Sequence[th.Tensor]) -> list[th.Tensor]:
    """Inverse of :func:`flatten`.

    :param vector: ``[N]``
    :param like: tensors whose shapes and precisions the parts get
    :return: the parts, views of the vector where precisions are equal
    """
    parts = vector.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, like, strict=True)]


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
        """J v, how parameters change along a direction.

        :param vector: v ``[N]``
        :return: ``[B, P]``
        """
        ...

    def vjp(self, cotangent: th.Tensor) -> th.Tensor:
        """Jᵀu, a gradient pulled back to θ.

        :param cotangent: u ``[B, P]``
        :return: ``[N]``
        """
        ...


class AutogradLinearization:
    """Of any network: J v is the derivative of u ↦ Jᵀu, which is linear, with respect to u.

    Reverse mode alone, whatever the network is made of; the graph built here serves every product.

    :param outputs: distribution parameters ``[B, P]``, with their graph
    :param parameters: the tensors that make up θ; one of them at least must reach ``outputs``
    """

    def __init__(self, outputs: th.Tensor, parameters: Sequence[th.Tensor]):
        self.at, self._parameters = outputs, parameters

    @cached_property
    def _pullback(self) -> tuple[th.Tensor, Sequence[th.Tensor]]:
        """u and Jᵀu, with the graph between them."""
        probe = th.zeros_like(self.at, requires_grad=True)
        return probe, th.autograd.grad(
            self.at, self._parameters, grad_outputs=probe, create_graph=True, materialize_grads=True
        )

    def gradient(self, value: th.Tensor, keep: bool) -> th.Tensor:
        return flatten(th.autograd.grad(value, self._parameters, retain_graph=keep, materialize_grads=True))

    def jvp(self, vector: th.Tensor) -> th.Tensor:
        probe, pullback = self._pullback
        pairs = zip(pullback, unflatten(vector, self._parameters), strict=True)
        used = [(part, tangent) for part, tangent in pairs if part.requires_grad]
        parts, tangents = zip(*used, strict=True)
        return th.autograd.grad(parts, probe, grad_outputs=tangents, retain_graph=True)[0]

    def vjp(self, cotangent: th.Tensor) -> th.Tensor:
        return flatten(
            th.autograd.grad(self.at, self._parameters, grad_outputs=cotangent, retain_graph=True, materialize_grads=True)
        )
