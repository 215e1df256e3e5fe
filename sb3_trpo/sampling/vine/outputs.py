"""What a policy and its copy in another process say of the same states: it must be equal."""

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.policy import PolicyInput, distribution_of
from sb3_trpo.sampling.defects import predicted_values
from sb3_trpo.sampling.vine.branches import one_thread

_CLOSE = 1e-2  # outputs of a policy on a GPU, which rounds in other ways, and of its copy


@th.no_grad()
def outputs(policy: ActorCriticPolicy, states: PolicyInput, actions: th.Tensor) -> dict[str, np.ndarray]:
    """What a policy says of some states and actions."""
    with one_thread():
        log_probs = distribution_of(policy, states).log_prob(actions)
        values = predicted_values(policy, states)
    return {"log-probabilities": log_probs.cpu().numpy(), "values": values.cpu().numpy()}


def compare(policy: ActorCriticPolicy, here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> None:
    """Refuse a copy that does not say what the policy says.

    :raises RuntimeError: naming what differs
    """
    for name, expected in here.items():
        if policy.device.type == "cpu":
            same = np.array_equal(expected, there[name], equal_nan=True)
        else:
            same = np.allclose(expected, there[name], rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
        if not same:
            raise RuntimeError(
                f"The policy's {name} of the same observations are others in a process that runs branches. The policy "
                "depends on something that processes do not share, such as a variable of a module or an attribute of a class "
                "that was set after import: make it an attribute of the policy, or use 'n_workers': 0 in vine_kwargs."
            )
