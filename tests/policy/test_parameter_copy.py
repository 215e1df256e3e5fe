"""Whether a policy has changed since it was copied."""

import torch as th

from sb3_trpo import TRPO
from sb3_trpo.policy import ParameterCopy
from tests.toys import ToyEnv


def test_what_has_changed_and_what_has_not() -> None:
    """NaN is the same as NaN, and a sparse buffer can be compared."""
    policy = TRPO("MlpPolicy", ToyEnv(), device="cpu").policy
    with th.no_grad():
        policy.value_net.bias.fill_(th.nan)
    policy.register_buffer("graph", th.eye(3).to_sparse())
    copy = ParameterCopy(policy)
    tensors = [*policy.parameters(), *policy.buffers()]
    assert not copy.differs(tensors)
    assert copy.differs([th.zeros(3)])
    policy.graph.values()[0] = 2.0
    assert copy.differs(tensors)
    policy.graph.values()[0] = 1.0
    with th.no_grad():
        policy.value_net.bias.fill_(0.0)
    assert copy.differs(tensors)
