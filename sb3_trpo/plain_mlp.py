"""Forward and backward passes of a plain MLP, written out: for small networks autograd and modules cost several times
the arithmetic. Knows PyTorch only."""

from collections.abc import Iterable, Sequence

import torch as th
from torch import nn


def is_plain_mlp(modules: Iterable[nn.Module]) -> bool:
    """Whether the modules are exactly Linear, Tanh and ReLU, a Linear first, with nothing hooked in."""
    modules = list(modules)
    return type(modules[0]) is nn.Linear and all(
        (type(module) in (nn.Tanh, nn.ReLU) or (type(module) is nn.Linear and module.bias is not None))
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
        for module in modules
    )


def forward(modules: Sequence[nn.Module], weights: Sequence[th.Tensor], inputs: th.Tensor) -> list[th.Tensor]:
    """Inputs and every module's outputs, rows being samples.

    :param modules: a plain MLP
    :param weights: weight and bias of each Linear, in order, in place of the modules' own
    :param inputs: ``[B, n]``
    """
    x, outputs, position = inputs, [inputs], 0
    for module in modules:
        if isinstance(module, nn.Linear):
            x = th.addmm(weights[position + 1], x, weights[position].T)
            position += 2
        else:
            x = th.tanh(x) if isinstance(module, nn.Tanh) else th.relu(x)
        outputs.append(x)
    return outputs


def slopes(modules: Sequence[nn.Module], outputs: Sequence[th.Tensor]) -> list[th.Tensor | None]:
    """Derivative of every activation, from its value; None for a Linear.

    :param modules: a plain MLP
    :param outputs: what :func:`forward` returned
    """
    derivatives: list[th.Tensor | None] = []
    for module, value in zip(modules, outputs[1:], strict=True):
        if isinstance(module, nn.Linear):
            derivatives.append(None)
        else:
            derivatives.append(1.0 - value * value if isinstance(module, nn.Tanh) else (value > 0.0).to(value.dtype))
    return derivatives


def backward(
    weights: Sequence[th.Tensor],
    outputs: Sequence[th.Tensor],
    derivatives: Sequence[th.Tensor | None],
    gradient: th.Tensor,
    into: Sequence[th.Tensor],
) -> None:
    """Gradient of every weight and bias, summed over samples, given that of the last output.

    :param weights: weight and bias of each Linear, in order
    :param outputs: what :func:`forward` returned
    :param derivatives: what :func:`slopes` returned
    :param gradient: ``[B, m]``
    :param into: tensors of the weights' shapes, to be written to
    """
    position = len(weights)
    for inputs, derivative in reversed(list(zip(outputs[:-1], derivatives, strict=True))):
        if derivative is None:
            position -= 2
            th.mm(gradient.T, inputs, out=into[position])
            th.sum(gradient, dim=0, out=into[position + 1])
            gradient = gradient @ weights[position] if position else gradient
        else:
            gradient = gradient * derivative
