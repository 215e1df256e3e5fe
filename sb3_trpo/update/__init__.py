"""The policy's update: an objective under its trust region (``objective``), and the step that improves it (``step``).

``agreement`` tells whether the rollout is that of the policy to be updated.
"""

from sb3_trpo.update.agreement import find_disagreement
from sb3_trpo.update.objective import PolicyObjective
from sb3_trpo.update.step import Objective, Step, StepOptions, policy_step

__all__ = ["Objective", "PolicyObjective", "Step", "StepOptions", "find_disagreement", "policy_step"]
