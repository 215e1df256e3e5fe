"""The evaluators of a path, with masks."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.policy import MaskedStates
from sb3_trpo.sampling import Evaluator
from sb3_trpo.sampling.evaluators import DeferredEvaluator, StepwiseEvaluator, may_defer
from sb3_trpo.sampling.masks import RolloutMasks
from sb3_trpo.sampling.single_path import Observations


def make_masked_evaluator(
    masks: RolloutMasks, policy: ActorCriticPolicy, buffer: RolloutBuffer, obs: Observations, bootstrap_gamma: float
) -> Evaluator:
    """:func:`~sb3_trpo.sampling.make_evaluator`, with masks."""
    if may_defer(policy, buffer):
        return MaskedDeferredEvaluator(masks, policy, buffer, obs, bootstrap_gamma)
    return MaskedStepwiseEvaluator(masks, policy, buffer, bootstrap_gamma)


class MaskedStepwiseEvaluator(StepwiseEvaluator):
    """One forward pass a step, on what is possible there."""

    def __init__(self, masks: RolloutMasks, *args: Any):
        super().__init__(*args)
        self.masks = masks

    def acts_elsewhere(self) -> bool:
        return False

    def locals(self) -> dict[str, Any]:
        return {**super().locals(), "action_masks": self.masks.masks[self.buffer.pos]}

    def _evaluate(self, obs: Any) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        return self.policy(obs, action_masks=self.masks.ask(self.buffer.pos))


class MaskedDeferredEvaluator(DeferredEvaluator):
    """At every step an action that is possible; the rest after the last one."""

    def __init__(self, masks: RolloutMasks, *args: Any):
        super().__init__(*args)
        self.masks = masks

    def act(self, obs: Observations) -> np.ndarray:
        masks = self.masks.ask(self.buffer.pos)
        if self.fast is not None:
            return self.fast.act(obs, next(self.noise), masks)  # type: ignore[arg-type]
        return self._draw(MaskedStates(obs_as_tensor(obs, self.device), th.as_tensor(masks, device=self.device)))

    def acts_elsewhere(self) -> bool:
        return False  # masks are asked for at every step

    def locals(self) -> dict[str, Any]:
        return {"action_masks": self.masks.masks[self.buffer.pos]}

    def _states(self, rows: slice) -> MaskedStates:
        return MaskedStates(super()._states(rows), self.masks.tensor(rows, self.device))  # type: ignore[arg-type]
