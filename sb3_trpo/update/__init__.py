"""The policy's update: an objective under its trust region (``objective``), and the step that improves it (``step``)."""

from sb3_trpo.update.objective import PolicyObjective
from sb3_trpo.update.step import Objective, Step, StepOptions, policy_step

__all__ = ["Objective", "PolicyObjective", "Step", "StepOptions", "policy_step"]
