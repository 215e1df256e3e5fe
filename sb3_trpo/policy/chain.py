"""A chain of known layers with its passes written out: forward, along a direction (J v) and backward (Jᵀu).

On small networks autograd and modules cost several times the arithmetic. On large ones J v costs a fraction of autograd's.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch as th
from torch import nn

from sb3_trpo.policy.hooks import is_hooked, replaced_methods
from sb3_trpo.policy.overlaps import overlap
from sb3_trpo.policy.tanh import Tanh, tanh
from sb3_trpo.trust_region import HALF_PRECISION, unflatten

_ACTIVATIONS = (nn.Tanh, Tanh, nn.ReLU)
_MLP = (nn.Linear, *_ACTIVATIONS)
_CNN = (nn.Conv2d, nn.Flatten, *_MLP)


def is_untouched(module: nn.Module) -> bool:
    """Whether a module does what its class does: no hook on it, on all modules or on its parameters, no method replaced."""
    return not (replaced_methods(module) or is_hooked(module))


def is_sequential(module: nn.Module) -> bool:
    """Whether a module runs its children one after another and does nothing else."""
    return type(module) is nn.Sequential and is_untouched(module)


def is_mlp(layers: Sequence[nn.Module]) -> bool:
    """Whether the layers are exactly Linear, Tanh and ReLU, a Linear first, untouched and with no weight in common."""
    return bool(layers) and type(layers[0]) is nn.Linear and _are_known(layers, _MLP)


def is_cnn(layers: Sequence[nn.Module]) -> bool:
    """Whether the layers are an MLP's, convolutions and Flatten, a convolution first, as above."""
    return bool(layers) and type(layers[0]) is nn.Conv2d and _are_known(layers, _CNN)


def _are_known(layers: Sequence[nn.Module], kinds: tuple[type[nn.Module], ...]) -> bool:
    known = all(type(layer) in kinds and _is_stock_module(layer) for layer in layers)
    return known and overlap([weight for layer in layers for weight in layer.parameters()]) is None


def _is_stock_module(layer: nn.Module) -> bool:
    """Whether a layer works in the way that is written out here."""
    if not is_untouched(layer):
        return False
    names = [name for name, _ in layer.named_parameters()]
    if has_weights(layer) and names != ["weight", "bias"]:  # no bias, or another order, as pruning leaves it
        return False
    if any(
        weight.dtype in HALF_PRECISION for weight in layer.parameters()
    ):  # what is written out here keeps sums in its own precision
        return False
    if isinstance(layer, nn.Conv2d) and (isinstance(layer.padding, str) or layer.padding_mode != "zeros"):
        return False
    if isinstance(layer, nn.Flatten):
        return (layer.start_dim, layer.end_dim) == (1, -1)
    return True


def like(other: th.Tensor, x: th.Tensor) -> th.Tensor:
    """``x`` in the memory format of another tensor: PyTorch convolves channels-last images half again as fast."""
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

    :param modules: a chain
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

    :param modules: a chain
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


class ChainLinearization:
    """The chain linearised at its weights: a :class:`~sb3_trpo.trust_region.Linearization`.

    :param modules: the network from its inputs to the distribution's parameters, or to the mean of a Gaussian
    :param inputs: ``[B, …]``
    :param log_std: log σ ``[d]`` of a Gaussian whose deviation does not depend on the state, else None
    :param parameters: the tensors that make up θ, in order: exactly the network's and ``log_std``
    :param restrict: from the network's outputs to parameters of which some do not depend on θ: those must have no part in
        what is differentiated, and neither row nor column in the distribution's Fisher matrix, because J has theirs as if
        they did
    """

    @th.no_grad()
    def __init__(
        self,
        modules: Sequence[nn.Module],
        inputs: th.Tensor,
        log_std: th.Tensor | None,
        parameters: Sequence[th.Tensor],
        restrict: Callable[[th.Tensor], th.Tensor] = lambda outputs: outputs,
    ):
        weights = [parameter for module in modules for parameter in module.parameters()]
        self._modules, self._weights = modules, [like(inputs, weight.detach()) for weight in weights]
        self._outputs = forward(modules, self._weights, inputs)
        mean = self._outputs[-1]
        self.at = restrict(mean) if log_std is None else th.cat([mean, log_std.detach().expand_as(mean)], dim=1)
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
        tangent = apply(self._modules[0], self._outputs[0], *self._parts[:2])
        position = 2
        for module, inputs, value in zip(self._modules[1:], self._outputs[1:-1], self._outputs[2:], strict=True):
            if has_weights(module):
                moved = apply(module, inputs, *self._parts[position : position + 2])
                tangent = add_applied(moved, module, tangent, self._weights[position])
                position += 2
            elif isinstance(module, nn.Flatten):
                tangent = tangent.flatten(1)
            else:
                tangent = through(module, value, tangent)
        if self._log_std_part is None:
            return tangent
        return th.cat([tangent, self._log_std_part.expand_as(tangent)], dim=1)

    @th.no_grad()
    def vjp(self, cotangent: th.Tensor) -> th.Tensor:
        if self._log_std_part is not None:
            cotangent, of_log_std = cotangent.chunk(2, dim=1)
            th.sum(of_log_std, dim=0, out=self._log_std_part)
        backward(self._modules, self._weights, self._outputs, cotangent, self._parts)
        return self._flat.clone()


class NumpyChain:
    """The forward pass in NumPy, of an MLP on the CPU: PyTorch's calls cost thirty times the arithmetic of a few rows.

    :param layers: an MLP; weights are those of construction
    """

    def __init__(self, layers: Sequence[nn.Module]):
        self._layers = [
            (np.ascontiguousarray(layer.weight.detach().numpy().T), layer.bias.detach().numpy())
            if isinstance(layer, nn.Linear)
            else (np.tanh if isinstance(layer, nn.Tanh) else _relu)
            for layer in layers
        ]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs ``[n, …]`` of inputs ``[n, …]``."""
        x = inputs.reshape(len(inputs), -1).astype(np.float32, copy=False)
        for layer in self._layers:
            if isinstance(layer, tuple):
                x = x.dot(layer[0])  # half the price of @ for a few rows
                x += layer[1]
            else:
                x = layer(x, out=x)
        return x


def _relu(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0, out=out)
