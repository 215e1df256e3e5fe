"""All that an update may move, so that it can be put back and what moved can be named."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.policy.parameter_copy import equal

PLAIN = (bool, int, float, complex, np.ndarray, np.generic, th.Tensor)  # what modules keep that an update may move


class Snapshot:
    """A policy's parameters, buffers, what else its modules keep in numbers, arrays and tensors, and its optimizer's state.

    All but the optimizer's state has names: ``value_net.weight``, ``features.running_mean``, ``features.calls``.

    :param policy: is restored in place; parameters stay the same objects in the same memory
    """

    def __init__(self, policy: ActorCriticPolicy):
        self._saved: dict[str, tuple[dict[str, Any] | None, Any, Any]] = {}  # holder, object, value
        for prefix, module in policy.named_modules():
            self._add(prefix, None, module.named_parameters(recurse=False))
            scripted = isinstance(module, th.jit.ScriptModule)  # its tables cannot be written to
            self._add(prefix, None if scripted else module._buffers, module.named_buffers(recurse=False))
            plain = [(key, value) for key, value in vars(module).items() if isinstance(value, PLAIN) and key != "training"]
            self._add(prefix, vars(module), plain)
        self._optimizer = policy.optimizer
        # Not by state_dict and deepcopy, which take a hundred times as long
        self._state = {parameter: _items_copied(state) for parameter, state in policy.optimizer.state.items()}
        self._groups = [dict(group) for group in policy.optimizer.param_groups]

    def _add(self, prefix: str, holder: dict[str, Any] | None, items: Iterable[tuple[str, Any]]) -> None:
        for key, value in items:
            self._saved[f"{prefix}.{key}" if prefix else key] = holder, value, _copied(value)

    def restore(self, names: Iterable[str] | None = None) -> None:
        """Put everything, or no more than what is named, back."""
        if names is None:
            self._optimizer.state.clear()
            self._optimizer.state.update({parameter: _items_copied(state) for parameter, state in self._state.items()})
            for group, saved in zip(self._optimizer.param_groups, self._groups, strict=True):
                group.update(saved)
        for name in self._saved if names is None else names:
            holder, kept, value = self._saved[name]
            if isinstance(kept, th.Tensor):
                with th.no_grad():
                    if not _is_expanded(kept):
                        kept.copy_(value)
            elif isinstance(kept, np.ndarray):
                if kept.flags.writeable:
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


def _is_expanded(tensor: th.Tensor) -> bool:
    """Whether one number stands for several elements, so that none of them can be written to."""
    return any(size > 1 and step == 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _items_copied(state: dict[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) for key, value in state.items()}


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, th.Tensor) else deepcopy(value)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, th.Tensor) and isinstance(b, th.Tensor):
        return equal(a, b)
    return type(a) is type(b) and bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind in "fc"))
