"""Whether tensors share memory: two parameters may be one number under two names (``b.data = a.data``)."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch as th


def _span(tensor: th.Tensor) -> tuple[int, int]:
    """Addresses of the first byte and behind the last one."""
    if not tensor.numel():
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def overlap(tensors: Sequence[th.Tensor]) -> tuple[int, int] | None:
    """Places of two tensors in the sequence that share memory, or None.

    Views of different parts of one memory, such as the parts of a flat vector, do not overlap.
    """
    spans = sorted((*_span(tensor), place) for place, tensor in enumerate(tensors) if tensor.numel())
    return next(((a[2], b[2]) for a, b in pairwise(spans) if b[0] < a[1]), None)


def overlaps(tensor: th.Tensor, others: Iterable[th.Tensor]) -> bool:
    """Whether a tensor shares memory with one of the others."""
    begin, end = _span(tensor)
    return any(begin < other_end and other_begin < end for other_begin, other_end in map(_span, others))
