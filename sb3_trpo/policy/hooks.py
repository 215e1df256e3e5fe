"""What is hooked into modules and optimizers, and which of their methods are replaced.

PyTorch has no public way to ask for hooks: its private names are read here alone.

If a version of PyTorch lacks one of these names, everything counts as hooked. PyTorch's own passes then run in the place of
those that are written out here. They take longer and give the same results.
"""

import torch as th
from torch import nn

_FORWARD = ("_forward_hooks", "_forward_pre_hooks")
_OF_MODULES = (*_FORWARD, "_backward_hooks", "_backward_pre_hooks")
_OF_OPTIMIZERS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def is_hooked(owner: nn.Module | th.optim.Optimizer) -> bool:
    """Whether there is a hook on it; of a module also, whether there is one on its own parameters or on all modules."""
    if isinstance(owner, th.optim.Optimizer):
        return any(getattr(owner, name, True) for name in _OF_OPTIMIZERS)
    return (
        getattr(nn.modules.module, "_has_any_global_hook", lambda: True)()
        or any(getattr(owner, name, True) for name in _OF_MODULES)
        or any(getattr(parameter, "_backward_hooks", True) for parameter in owner.parameters(recurse=False))
    )


def replaced_methods(instance: object) -> list[str]:
    """Names of what an instance has in the place of its class's methods."""
    return sorted(name for name, value in vars(instance).items() if callable(value) and hasattr(type(instance), name))


def forward_hooks(module: nn.Module) -> list[int]:
    """How many hooks it has after and before its forward pass."""
    return [len(getattr(module, name, ())) for name in _FORWARD]
