"""Hooks are found where PyTorch keeps them, and where it does not say, everything counts as hooked."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.critic.mlp_regression import MlpRegression
from sb3_trpo.policy.hooks import is_hooked
from tests.toys import ToyEnv

HOOKS: dict[str, Callable[[nn.Module, th.optim.Optimizer], Any]] = {
    "forward": lambda module, _: module.register_forward_hook(print),
    "before forward": lambda module, _: module.register_forward_pre_hook(print),
    "backward": lambda module, _: module.register_full_backward_hook(print),
    "before backward": lambda module, _: module.register_full_backward_pre_hook(print),
    "parameter": lambda module, _: next(module.parameters()).register_hook(print),
    "all modules": lambda *_: nn.modules.module.register_module_forward_hook(print),
    "before a step": lambda _, optimizer: optimizer.register_step_pre_hook(print),
    "after a step": lambda _, optimizer: optimizer.register_step_post_hook(print),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_a_hook_is_found_until_it_is_removed(kind: str) -> None:
    module = nn.Linear(2, 2)
    optimizer = th.optim.Adam(module.parameters())
    handle = HOOKS[kind](module, optimizer)
    try:
        assert is_hooked(optimizer if "step" in kind else module)
        assert not is_hooked(module if "step" in kind else optimizer)
    finally:
        handle.remove()
    assert not is_hooked(module) and not is_hooked(optimizer)


def test_what_pytorch_does_not_tell_counts_as_a_hook() -> None:
    module = nn.Linear(2, 2)
    optimizer = th.optim.Adam(module.parameters())
    del module._backward_pre_hooks, optimizer._optimizer_step_pre_hooks
    assert is_hooked(module) and is_hooked(optimizer)


def test_a_run_without_the_private_names_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five updates by PyTorch's own passes: parameters to 1e-5, and the critic's fit is not written out."""
    fast = TRPO("MlpPolicy", ToyEnv(), n_steps=64, batch_size=64, seed=0, device="cpu").learn(5 * 64)
    monkeypatch.delattr(nn.modules.module, "_has_any_global_hook")
    monkeypatch.delattr(MlpRegression, "step")
    slow = TRPO("MlpPolicy", ToyEnv(), n_steps=64, batch_size=64, seed=0, device="cpu").learn(5 * 64)
    for one, other in zip(fast.policy.parameters(), slow.policy.parameters(), strict=True):
        th.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
