"""Single values that a user gives: a number, a whole number, a truth value, an object; errors name the fix."""

from numbers import Integral, Real
from typing import Any

import numpy as np


def check_type(name: str, value: Any, kind: type | tuple[type, ...], wanted: str) -> None:
    """Refuse a value of another type.

    :param wanted: what to give, in words
    :raises TypeError: if it is not of the kind
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}={value!r} is of type {type(value).__name__}: give {wanted}.")


def check_real(name: str, value: Any, low: float, low_allowed: bool, high: float, high_allowed: bool) -> None:
    """Refuse what is no number, or outside an interval.

    :raises TypeError: for a value of the wrong type
    :raises ValueError: for a value out of range
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} is of type {type(value).__name__}: give a number.")
    inside = low <= float(value) <= high and (low_allowed or value != low) and (high_allowed or value != high)
    if not inside:
        bounds = f"{'[' if low_allowed else '('}{low:g}, {high:g}{']' if high_allowed else ')'}"
        raise ValueError(f"{name}={value!r} is outside {bounds}: give a finite number in that interval.")


def check_count(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or too small.

    :raises TypeError: for a value of the wrong type
    :raises ValueError: for a value below ``least``
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} is of type {type(value).__name__}: give a whole number of at least {least}.")
    if value < least:
        raise ValueError(f"{name}={value!r} is too small: give a whole number of at least {least}.")


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False: the text "False" counts as true in Python.

    :raises TypeError: for a value of the wrong type
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r} is not a bool: give True or False.")
