"""Why a stage of the step ended as it did: the one vocabulary of solver, line search and log."""

from enum import Enum


class Status(str, Enum):
    """Outcome of a stage. ``train/status`` in the log is the last stage's: ``ok`` where a step was taken."""

    OK = "ok"
    MAX_STEPS = "iteration limit"
    ZERO_GRADIENT = "zero gradient"
    NOT_FINITE = "not finite"
    CURVATURE = "curvature not positive"
    NO_CANDIDATE = "no acceptable candidate"
    BAD_ROLLOUT = "rollout not finite"
    ACTOR_MOVED = "fit moves the policy"

    @property
    def usable(self) -> bool:
        """Whether the next stage may go on: solved, or as well as the iteration limit allowed."""
        return self in (Status.OK, Status.MAX_STEPS)
