"""A copy of a policy's parameters, to tell later whether they have changed."""

from collections.abc import Iterable

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy


class ParameterCopy:
    """A policy's parameters and buffers as they are now.

    :param policy: they are copied
    """

    def __init__(self, policy: ActorCriticPolicy):
        self._values = {tensor: tensor.detach().clone() for tensor in (*policy.parameters(), *policy.buffers())}

    def differs(self, tensors: Iterable[th.Tensor]) -> bool:
        """Whether any of these parameters or buffers has another value now, or is one that the policy did not have."""
        return not all(tensor in self._values and equal(tensor, self._values[tensor]) for tensor in tensors)


def equal(a: th.Tensor, b: th.Tensor) -> bool:
    """Whether two tensors, which may be sparse, have the same values, NaN in the same places included."""
    if a.shape != b.shape:
        return False
    a, b = a.to_dense(), b.to_dense()
    return th.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())
