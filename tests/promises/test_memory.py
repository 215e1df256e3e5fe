"""What an update holds at a time does not grow with the rollout where actions or states are many."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sb3_trpo import TRPO
from tests.toys import BOX_OBSERVATIONS, ToyEnv

N_STEPS = 1024
MANY_ACTIONS, MANY_STATES = spaces.Discrete(2000), spaces.Discrete(20_000)


class Numbered(ToyEnv):
    """Observations are numbers of states."""

    def _observe(self) -> Any:
        super()._observe()
        return int(self.np_random.integers(20_000)) if self.observation_space == MANY_STATES else np.float32(self.context)


class Sizes(TorchDispatchMode):
    """Bytes of every tensor that PyTorch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for part in tree_leaves(result):
            if isinstance(part, th.Tensor) and part.is_contiguous():
                self.found.append((part.numel() * part.element_size(), str(function)))
        return result


@pytest.mark.parametrize(
    ("actions", "observations", "whole"),
    # logits of all samples, 8 MB, are kept once, to measure the KL divergence against; one-hot states, 82 MB, never
    [(MANY_ACTIONS, BOX_OBSERVATIONS, 4 * 2000 * N_STEPS), (spaces.Discrete(3), MANY_STATES, 4 * 20_000 * N_STEPS)],
)
def test_many_actions_and_many_states(actions: spaces.Space, observations: spaces.Space, whole: int) -> None:
    model = TRPO("MlpPolicy", Numbered(actions, observations), n_steps=N_STEPS, n_critic_updates=1, seed=0, device="cpu")
    with Sizes() as sizes:
        model.learn(N_STEPS)
    assert model.last_update["train/status"] == "ok" and 0.0 < model.last_update["train/kl_divergence_loss"] <= 0.01
    large = {name for size, name in sizes.found if size > 0.6 * whole}
    assert large <= ({"aten.new_empty.default"} if actions is MANY_ACTIONS else set())
