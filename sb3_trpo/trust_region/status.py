"""Why a stage of the step ended as it did: the one vocabulary of solver, line search, critic and log."""

from enum import Enum


class Status(str, Enum):
    """Outcome of a stage, with what it means and what to do.

    ``train/status`` is the last stage's: ``ok`` where a step was taken. ``train/critic_status`` is the critic's. The log has
    their codes, because loggers take means of what they are given, and ``model.last_update`` the members themselves.
    ``Status(code)`` finds the member, ``Status("ok")`` too.

    :param code: its number in the log, 0 for ``ok``
    """

    code: int
    meaning: str
    remedy: str

    def __new__(cls, code: int, value: str, meaning: str, remedy: str) -> "Status":
        member = str.__new__(cls, value)
        member._value_, member.code, member.meaning, member.remedy = value, code, meaning, remedy
        return member

    @classmethod
    def _missing_(cls, value: object) -> "Status | None":
        return next((member for member in cls if member.code == value), None)

    OK = (0, "ok", "The stage succeeded.", "Nothing to do.")
    MAX_STEPS = (
        1,
        "iteration limit",
        "Conjugate gradient used all its iterations; the step uses its last iterate.",
        "Nothing to do, as a rule; a larger cg_max_steps or cg_damping gets closer to the solution.",
    )
    ZERO_GRADIENT = (
        2,
        "zero gradient",
        "The objective does not change with the policy: all advantages are equal, or zero.",
        "Check that rewards differ within a rollout; raise n_steps, or set ent_coef above zero.",
    )
    NOT_FINITE = (
        3,
        "not finite",
        "A gradient, a product or a parameter was NaN or infinite, and nothing was changed.",
        "Scale rewards and observations (VecNormalize). If this is train/critic_status, lower learning_rate.",
    )
    CURVATURE = (
        4,
        "curvature not positive",
        "The Fisher matrix with its damping was not positive along a direction, so that no step length exists.",
        "Raise cg_damping.",
    )
    NO_CANDIDATE = (
        5,
        "no acceptable candidate",
        "No candidate of the line search kept the KL bound and improved the objective.",
        "Now and then is normal; if it is frequent, raise line_search_max_iter, n_steps or cg_damping.",
    )
    BAD_ROLLOUT = (
        6,
        "rollout not finite",
        "The rollout has a NaN, an infinity, or rewards too large for single precision, and was not learned from.",
        "The warning names the step and the environment: mend what the environment returns there.",
    )
    ACTOR_MOVED = (
        7,
        "fit moves the policy",
        "Every fit of the critic changed the policy, so that the critic stays as it is.",
        "Give actor and critic networks that share no parameter, buffer or running statistic.",
    )
    NOTHING_TO_FIT = (
        8,
        "nothing to fit",
        "No gradient reaches a parameter of the critic that the optimizer has, so that the critic stays as it is.",
        "Let predict_values run with gradients, and give the optimizer the critic's parameters.",
    )

    @property
    def usable(self) -> bool:
        """Whether the next stage may go on: solved, or as well as the iteration limit allowed."""
        return self in (Status.OK, Status.MAX_STEPS)
