"""Which parameters a computation depends on, whether or not a gradient can flow from it to them. Knows PyTorch only."""

from collections.abc import Callable, Iterable
from typing import Any

import torch as th
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Trace(TorchDispatchMode):
    """Follows the flow of data from parameters through every operation, ``detach`` and ``no_grad`` included."""

    def __init__(self, parameters: Iterable[nn.Parameter]):
        super().__init__()
        self.sources: dict[int, frozenset[int]] = {}  # a memory's address -> ids of the parameters that went into it
        self.alive: list[th.UntypedStorage] = []  # memory that were freed could come back as another tensor's
        for parameter in parameters:
            self._add(parameter, frozenset([id(parameter)]))

    def of(self, values: Any) -> frozenset[int]:
        """Ids of the parameters behind the tensors among some values."""
        tensors = (leaf for leaf in tree_leaves(values) if isinstance(leaf, th.Tensor))
        return frozenset().union(*(self.sources.get(tensor.untyped_storage()._cdata, frozenset()) for tensor in tensors))

    def _add(self, tensor: th.Tensor, sources: frozenset[int]) -> None:
        storage = tensor.untyped_storage()
        self.alive.append(storage)
        self.sources[storage._cdata] = self.sources.get(storage._cdata, frozenset()) | sources

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = self.of((args, kwargs))
        outputs = function(*args, **(kwargs or {}))
        if sources:
            for leaf in tree_leaves(outputs):
                if isinstance(leaf, th.Tensor):
                    self._add(leaf, sources)
        return outputs


def influential(compute: Callable[[], th.Tensor], parameters: Iterable[nn.Parameter]) -> set[int]:
    """Ids of those among the parameters that went into what is computed.

    A gradient does not tell: it ends where a tensor is detached, though the value goes on depending on what is behind.
    Parameters that share memory stand or fall together.

    :param compute: any computation with tensors
    :param parameters: candidates
    """
    with _Trace(parameters) as trace:
        result = compute()
    return set(trace.of(result))
