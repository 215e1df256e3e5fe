"""Small environments with every space, and a ruler for the true trust region."""

from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

BOX_OBSERVATIONS = spaces.Box(-1.0, 1.0, (4,))
DICT_OBSERVATIONS = spaces.Dict(
    {
        "vector": spaces.Box(-1.0, 1.0, (4,)),
        "value_map": spaces.Box(0, 255, (1, 36, 36), dtype=np.uint8),
        "number": spaces.Discrete(3),
    }
)
BOX_ACTIONS = spaces.Box(-1.0, 1.0, (3,))


class ToyEnv(gym.Env):
    """Random observations; the reward is a fixed random function of observation and action. Episodes of ten steps.

    :param faults: ``{step: (what, value)}``: at that step since construction, put ``value`` into ``"observation"``
        or ``"reward"``
    """

    def __init__(
        self,
        action_space: spaces.Space = BOX_ACTIONS,
        observation_space: spaces.Space = BOX_OBSERVATIONS,
        faults: dict[int, tuple[str, float]] | None = None,
    ):
        self.action_space, self.observation_space = action_space, observation_space
        self.faults = faults or {}
        self.total_steps = 0
        size = spaces.flatdim(action_space)
        self.weights = np.random.default_rng(0).normal(size=(4, size))

    def _observe(self) -> Any:
        self.context = self.np_random.uniform(-1.0, 1.0, 4)
        what, value = self.faults.get(self.total_steps, ("", 0.0))
        if what == "observation":
            self.context[2] = value
        if isinstance(self.observation_space, spaces.Dict):
            image = self.np_random.integers(0, 256, (1, 36, 36), dtype=np.uint8)
            return {"vector": self.context.astype(np.float32), "value_map": image, "number": self.np_random.integers(3)}
        return self.context.astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        flat = spaces.flatten(self.action_space, action)
        reward = float(np.nan_to_num(self.context) @ self.weights @ flat)
        self.time += 1
        self.total_steps += 1
        what, value = self.faults.get(self.total_steps, ("", 0.0))
        reward = value if what == "reward" else reward
        return self._observe(), reward, False, self.time == 10, {}


class Reader(BaseCallback):
    """Reads the buffer, which turns its arrays round."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        next(iter(self.model.rollout_buffer.get(8)))  # type: ignore[attr-defined]


def joint_kl(old: ActorCriticPolicy, new: ActorCriticPolicy, observations: Any) -> th.Tensor:
    """KL(old ‖ new) of the joint action distribution in each state, by PyTorch's own divergences."""
    with th.no_grad():
        p, q = deepcopy(old.get_distribution(observations).distribution), new.get_distribution(observations).distribution
    if isinstance(p, list):
        return sum(th.distributions.kl_divergence(a, b) for a, b in zip(p, q, strict=True))  # type: ignore[return-value]
    divergence = th.distributions.kl_divergence(p, q)
    return divergence if divergence.ndim == 1 else divergence.sum(dim=1)


def snapshot(model: OnPolicyAlgorithm) -> ActorCriticPolicy:
    """A copy of the policy (gSDE's cannot be deep-copied)."""
    policy = model.policy_class(
        model.observation_space, model.action_space, model.lr_schedule, use_sde=model.use_sde, **model.policy_kwargs
    )
    policy.load_state_dict(model.policy.state_dict())
    policy.set_training_mode(False)
    return policy


def buffer_observations(model: OnPolicyAlgorithm) -> Any:
    """The rollout's observations as the policy takes them."""
    data = next(iter(deepcopy(model.rollout_buffer).get(None)))
    return data.observations


def parameters(model: OnPolicyAlgorithm) -> dict[str, th.Tensor]:
    """A copy of every parameter."""
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def same(before: dict[str, th.Tensor], after: dict[str, th.Tensor]) -> bool:
    """Whether two sets of parameters are equal bit for bit."""
    return before.keys() == after.keys() and all(th.equal(before[name], after[name]) for name in before)
