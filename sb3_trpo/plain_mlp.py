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


def through(activation: nn.Module, value: th.Tensor, vector: th.Tensor) -> th.Tensor:
    """A vector times the derivative of a Tanh or ReLU, in one pass over memory.

    :param activation: the module
    :param value: its output
    :param vector: tangent of its input, or gradient of its output
    """
    if isinstance(activation, nn.Tanh):
        return th.ops.aten.tanh_backward(vector, value)
    return th.ops.aten.threshold_backward(vector, value, 0)


def backward(
    modules: Sequence[nn.Module],
    weights: Sequence[th.Tensor],
    outputs: Sequence[th.Tensor],
    gradient: th.Tensor,
    into: Sequence[th.Tensor],
) -> None:
    """Gradient of every weight and bias, summed over samples, given that of the last output.

    :param modules: a plain MLP
    :param weights: weight and bias of each Linear, in order
    :param outputs: what :func:`forward` returned
    :param gradient: ``[B, m]``
    :param into: tensors of the weights' shapes, to be written to
    """
    position = len(weights)
    for module, inputs, value in reversed(list(zip(modules, outputs[:-1], outputs[1:], strict=True))):
        if not isinstance(module, nn.Linear):
            gradient = through(module, value, gradient)
            continue
        position -= 2
        if 2 * module.in_features <= module.out_features:  # a tall product of few columns takes MKL up to six times as long
            into[position].copy_((inputs.T @ gradient).T)
        else:
            th.mm(gradient.T, inputs, out=into[position])
        th.sum(gradient, dim=0, out=into[position + 1])
        gradient = gradient @ weights[position] if position else gradient
