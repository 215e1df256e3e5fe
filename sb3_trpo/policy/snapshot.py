"""All that an update may move, so that it can be put back and what moved can be named."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

_PLAIN = (bool, int, float, complex, np.ndarray, np.generic, th.Tensor)


class Snapshot:
    """A policy's parameters, buffers, what else its modules keep in numbers, arrays and tensors, and its optimizer's state.

    All but the optimizer's state has names: ``value_net.weight``, ``features.running_mean``, ``features.calls``.

    :param policy: is restored in place; parameters stay the same objects in the same memory
    """

    def __init__(self, policy: ActorCriticPolicy):
        self._policy, self._optimizer = policy, deepcopy(policy.optimizer.state_dict())
        self._saved: dict[str, tuple[dict[str, Any] | None, Any, Any]] = {}  # holder, object, value
        for prefix, module in policy.named_modules():
            held: list[tuple[dict[str, Any] | None, Iterable[tuple[str, Any]]]] = [
                (None, module.named_parameters(recurse=False)),
                (None if isinstance(module, th.jit.ScriptModule) else module._buffers, module.named_buffers(recurse=False)),
                (
                    vars(module),
                    [item for item in vars(module).items() if item[0] != "training" and isinstance(item[1], _PLAIN)],
                ),
            ]
            for holder, items in held:
                for key, value in items:
                    self._saved[f"{prefix}.{key}" if prefix else key] = holder, value, _copied(value)

    def restore(self, names: Iterable[str] | None = None) -> None:
        """Put everything, or no more than what is named, back."""
        if names is None:
            self._policy.optimizer.load_state_dict(self._optimizer)
        for name in self._saved if names is None else names:
            holder, kept, value = self._saved[name]
            if isinstance(kept, th.Tensor):
                with th.no_grad():
                    kept.copy_(value)
            elif isinstance(kept, np.ndarray):
                kept[...] = value
            else:
                kept = value
            if holder is not None:
                holder[name.rpartition(".")[2]] = kept

    def changed(self) -> list[str]:
        """Names of what is not as it was."""
        return [name for name, (_, _, value) in self._saved.items() if not _equal(self._now(name), value)]

    def _now(self, name: str) -> Any:
        holder, kept, _ = self._saved[name]
        return kept if holder is None else holder.get(name.rpartition(".")[2])


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, th.Tensor) else deepcopy(value)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, th.Tensor) and isinstance(b, th.Tensor):
        return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan() if a.is_floating_point() else a == b)).all())
    return type(a) is type(b) and bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind in "fc"))
