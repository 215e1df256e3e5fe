"""A small vine, for tests that do not need a large one."""

from typing import Any

from gymnasium import spaces

from sb3_trpo import TRPO

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "seed": 0, "policy_kwargs": {"net_arch": [16]}}
VINE = {"n_states": 6, "branches_per_state": 3, "branch_length": 5}

ACTIONS = {
    "Box": spaces.Box(-1.0, 1.0, (3,)),
    "Discrete": spaces.Discrete(4),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary(3),
}


def model(env: Any, policy: str = "MlpPolicy", **settings: Any) -> TRPO:
    return TRPO(policy, env, **{**SMALL, "sampling": "vine", "vine_kwargs": VINE, **settings})
