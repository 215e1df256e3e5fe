"""Forward and backward passes of a plain network, written out: for small ones autograd and modules cost several times the
arithmetic, and of large ones derivatives along a direction are had at a fraction of their price. Knows PyTorch only."""

from collections.abc import Iterable, Sequence

import torch as th
from torch import nn

from sb3_trpo.tanh import Tanh, tanh

_ACTIVATIONS = (nn.Tanh, Tanh, nn.ReLU)


def is_plain_mlp(modules: Iterable[nn.Module]) -> bool:
    """Whether the modules are exactly Linear, Tanh and ReLU, a Linear first, with nothing hooked in or shared."""
    modules = list(modules)
    return type(modules[0]) is nn.Linear and _are_plain(modules, (nn.Linear, *_ACTIVATIONS))


def is_plain_cnn(modules: Iterable[nn.Module]) -> bool:
    """Whether the modules are such as make up an MLP, convolutions and Flatten, a convolution first."""
    modules = list(modules)
    return type(modules[0]) is nn.Conv2d and _are_plain(modules, (nn.Linear, nn.Conv2d, nn.Flatten, *_ACTIVATIONS))


def is_untouched(module: nn.Module) -> bool:
    """Whether a module does what its class does, with nothing hooked into it or its own parameters, forwards or backwards."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooked = any(getattr(module, name) for name in hooks)
    return not (hooked or "forward" in vars(module) or any(p._backward_hooks for p in module.parameters(recurse=False)))


def is_chain(module: nn.Module) -> bool:
    """Whether a module runs its children one after another and does nothing else."""
    return type(module) is nn.Sequential and is_untouched(module)


def _are_plain(modules: Sequence[nn.Module], kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether all layers are of these kinds and plain, and no two of them have a weight in common."""
    weights = [id(weight) for module in modules for weight in module.parameters()]
    return len(set(weights)) == len(weights) and all(type(module) in kinds and _is_plain(module) for module in modules)


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer works in the way that is written out here."""
    if not is_untouched(module):
        return False
    names = [name for name, _ in module.named_parameters()]
    if has_weights(module) and names != ["weight", "bias"]:  # no bias, or another order, as pruning leaves it
        return False
    if isinstance(module, nn.Conv2d) and (isinstance(module.padding, str) or module.padding_mode != "zeros"):
        return False
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    return True


def like(other: th.Tensor, x: th.Tensor) -> th.Tensor:
    """A tensor in the order of memory of another one: pictures with channels last are convolved half again as fast."""
    last = x.ndim == 4 and other.is_contiguous(memory_format=th.channels_last)
    return x.contiguous(memory_format=th.channels_last) if last else x


def has_weights(module: nn.Module) -> bool:
    """Whether a layer has a weight and a bias."""
    return isinstance(module, (nn.Linear, nn.Conv2d))


def apply(module: nn.Module, x: th.Tensor, weight: th.Tensor, bias: th.Tensor) -> th.Tensor:
    """Output ``[B, …]`` of a Linear or a convolution with other weights than its own, given its input ``[B, …]``."""
    if isinstance(module, nn.Conv2d):
        return th.conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)  # type: ignore[arg-type]
    return th.addmm(bias, x, weight.T)


def add_applied(total: th.Tensor, module: nn.Module, x: th.Tensor, weight: th.Tensor) -> th.Tensor:
    """The same without the bias, added to a tensor in place."""
    if isinstance(module, nn.Conv2d):
        return total.add_(th.conv2d(x, weight, None, module.stride, module.padding, module.dilation, module.groups))  # type: ignore[arg-type]
    return total.addmm_(x, weight.T)


def forward(modules: Sequence[nn.Module], weights: Sequence[th.Tensor], inputs: th.Tensor) -> list[th.Tensor]:
    """Inputs and every module's outputs, rows being samples.

    :param modules: a plain network
    :param weights: weight and bias of each layer that has them, in order, in place of the modules' own
    :param inputs: ``[B, …]``
    """
    x, outputs, position = inputs, [inputs], 0
    for module in modules:
        if has_weights(module):
            x = apply(module, x, weights[position], weights[position + 1])
            position += 2
        elif isinstance(module, nn.Flatten):
            x = x.flatten(1)
        else:
            x = tanh(x) if isinstance(module, nn.Tanh) else th.relu(x)
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

    :param modules: a plain network
    :param weights: weight and bias of each layer that has them, in order
    :param outputs: what :func:`forward` returned
    :param gradient: ``[B, m]``
    :param into: tensors of the weights' shapes, to be written to
    """
    position = len(weights)
    for module, inputs, value in reversed(list(zip(modules, outputs[:-1], outputs[1:], strict=True))):
        if isinstance(module, nn.Flatten):
            gradient = like(inputs, gradient.view(inputs.shape))
            continue
        if not has_weights(module):
            gradient = through(module, value, gradient)
            continue
        position -= 2
        if isinstance(module, nn.Conv2d):
            needed = (position > 0, True, True)  # the inputs of the first layer are data
            geometry = (module.stride, module.padding, module.dilation, False, (0, 0), module.groups)
            gradient, of_weight, of_bias = th.ops.aten.convolution_backward(
                gradient, inputs, weights[position], [module.out_channels], *geometry, needed
            )
            into[position].copy_(of_weight)
            into[position + 1].copy_(of_bias)
            continue
        if 2 * inputs.shape[1] <= gradient.shape[1]:  # a tall product of few columns takes MKL up to six times as long
            into[position].copy_((inputs.T @ gradient).T)
        else:
            th.mm(gradient.T, inputs, out=into[position])
        th.sum(gradient, dim=0, out=into[position + 1])
        gradient = gradient @ weights[position] if position else gradient
