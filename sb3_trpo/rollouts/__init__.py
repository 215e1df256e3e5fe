"""Collecting experience with SB3's vectorised environments, policies and buffers. Knows no TRPO.

``single_path`` runs the policy in the training environments, ``advantages`` turns rewards into advantages, and
``finite`` says where a rollout has a value that is not a number.
"""

from sb3_trpo.rollouts.advantages import monte_carlo_advantages
from sb3_trpo.rollouts.finite import Defect, check_running_statistics, find_defect
from sb3_trpo.rollouts.single_path import Transition, record, single_path

__all__ = [
    "Defect",
    "Transition",
    "check_running_statistics",
    "find_defect",
    "monte_carlo_advantages",
    "record",
    "single_path",
]
