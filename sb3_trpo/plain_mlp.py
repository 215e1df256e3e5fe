"""Which networks are simple enough to be worked out by hand, without PyTorch's modules or autograd."""

from collections.abc import Iterable

import torch as th
from torch import nn


def is_plain_mlp(modules: Iterable[nn.Module]) -> bool:
    """Whether the modules are exactly Linear, Tanh and ReLU in single precision, with nothing hooked in."""
    return all(
        (type(module) in (nn.Tanh, nn.ReLU) or (type(module) is nn.Linear and module.bias is not None))
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
        and all(parameter.dtype == th.float32 for parameter in module.parameters())
        for module in modules
    )
