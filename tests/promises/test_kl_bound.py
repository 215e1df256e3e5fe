"""The KL divergence between the policies before and after everything an update does is at most δ, whatever the policy is."""

import warnings
from copy import deepcopy
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from torch.distributions import kl_divergence

from sb3_trpo import TRPO
from tests.own_policies import NOT_MOVED, POLICIES

UPDATES = 20
SETTINGS: dict[str, Any] = {
    "n_steps": 64,
    "batch_size": 32,
    "n_critic_updates": 5,
    "learning_rate": 1e-2,
    "gamma": 0.9,
    "cg_max_steps": 6,
    "seed": 0,
    "device": "cpu",
}


class Ruler(BaseCallback):
    """Measures from outside, by PyTorch: from the end of a rollout to the beginning of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.kl: list[float] = []
        self.critic_moved: list[bool] = []
        self.before: Any = None

    def _on_step(self) -> bool:
        return True

    def measure(self) -> None:
        if self.before is None:
            return
        observations, old, value = self.before
        policy = self.model.policy
        with th.no_grad():
            new = policy.get_distribution(observations).distribution
            self.kl.append(float(kl_divergence(old, new).sum(dim=1).mean()))
            self.critic_moved.append(not th.equal(value, policy.predict_values(observations)))

    def _on_rollout_start(self) -> None:
        self.measure()

    def _on_rollout_end(self) -> None:
        policy: Any = self.model.policy
        observations = th.as_tensor(self.model.rollout_buffer.observations).flatten(0, 1).clone()  # type: ignore[attr-defined]
        with th.no_grad():
            old = deepcopy(policy.get_distribution(observations).distribution)
            self.before = observations, old, policy.predict_values(observations).clone()


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_bound_holds_from_outside(name: str) -> None:
    """20 updates at a learning rate of 0.01: at most 1.002 δ each, steps are taken, and the critic learns."""
    model, ruler = TRPO(POLICIES[name], "Pendulum-v1", **SETTINGS), Ruler()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(UPDATES * 64, callback=ruler)
    ruler.measure()
    assert len(ruler.kl) == UPDATES and max(ruler.kl) <= 1.002 * model.target_kl
    assert sum(kl > 0.3 * model.target_kl for kl in ruler.kl) >= UPDATES // 2
    assert all(ruler.critic_moved)
    said = [str(warning.message) for warning in caught if "moved the policy" in str(warning.message)]
    assert len(said) == (name not in NOT_MOVED)
    assert model.last_update["train/critic_status"] == "ok"
