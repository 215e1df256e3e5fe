"""A run that cannot be lost: saved whole while it learns, and resumed as if it had not been interrupted.

``checkpoint`` is the callback that saves, ``algorithm`` what resumes, and ``resumption`` the moment of it. ``run`` is the
state of a run: ``callback_states``, ``logs`` and ``randomness`` are parts of it, ``plain`` writes what can be read without
running code, ``settings`` tells what has to be the same. ``store`` keeps checkpoints whole, and ``preemption`` waits for
signals.
"""

from sb3_trpo.checkpoints.algorithm import Resumable, has_checkpoints, resume
from sb3_trpo.checkpoints.checkpoint import ExactCheckpoint
from sb3_trpo.checkpoints.preemption import EXIT_STATUS, Preempted

__all__ = ["EXIT_STATUS", "ExactCheckpoint", "Preempted", "Resumable", "has_checkpoints", "resume"]
