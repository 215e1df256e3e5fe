"""Means over a batch of which only a part is here: the callables through which the other parts are reached."""

from collections.abc import Callable

import torch as th

# From a mean (or a largest value) over this part of the batch to that over the whole batch, elementwise
Reduction = Callable[[th.Tensor], th.Tensor]


def whole(values: th.Tensor) -> th.Tensor:
    """The reduction of a batch that is all here."""
    return values
