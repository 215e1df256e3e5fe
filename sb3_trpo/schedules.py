"""Settings that may be functions of the remaining progress, which falls from 1 to 0 while ``learn`` runs."""

import math
from typing import Any

from sb3_trpo.checks import check_real

# name -> lowest value of a schedule. A target_kl that falls to 0 ends in updates that leave the policy as it is.
_LOWEST = {"target_kl": 0.0, "cg_damping": 0.0, "ent_coef": -math.inf}
SCHEDULABLE = tuple(_LOWEST)


def is_schedule(name: str, value: Any) -> bool:
    """Whether a setting may be a function, and this value is one."""
    return name in _LOWEST and callable(value)


def check_schedule(name: str, schedule: Any, progress: float) -> float:
    """The value of a schedule, if it is one that the setting may have.

    :param name: of the setting
    :param schedule: function of the remaining progress
    :param progress: remaining, from 1 to 0
    :raises TypeError: for a value that is no number
    :raises ValueError: for a value out of range
    """
    value = schedule(progress)
    low = _LOWEST[name]
    check_real(f"{name}({progress:g})", value, low, math.isfinite(low), math.inf, False)
    return float(value)


def present_value(model: Any, name: str) -> Any:
    """A setting as it is now: a schedule's value at the model's progress, anything else as it stands.

    :param model: SB3's algorithm, which has the setting as an attribute
    :param name: of the setting
    :raises TypeError: for a schedule's value that is no number
    :raises ValueError: for a schedule's value out of range
    """
    value = getattr(model, name)
    return check_schedule(name, value, model._current_progress_remaining) if is_schedule(name, value) else value


def present_values(model: Any) -> dict[str, float]:
    """For the log: what the schedules among a model's settings have come to."""
    return {f"train/{name}": present_value(model, name) for name in _LOWEST if is_schedule(name, getattr(model, name))}
