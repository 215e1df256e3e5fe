"""Whether two settings are the same: values that ``==`` compares wrongly, or not at all, are compared by what is in them."""

from collections.abc import Mapping
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np
import torch as th


def same(one: Any, other: Any) -> bool:
    """Compare two settings, and settings in dicts, lists and tuples.

    A list is the same as a tuple with the same content, because files make lists of tuples. Arrays and tensors are compared
    number by number, NaN being the same as NaN; classes by module and name, because another process makes its own of those
    that a script defines; functions by their code, too, and by the values that they keep.

    :param one: a setting
    :param other: another one
    """
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (np.ndarray, th.Tensor)) or isinstance(other, (np.ndarray, th.Tensor)):
        return type(one) is type(other) and one.dtype == other.dtype and _same_numbers(one, other)
    if isinstance(one, partial) and isinstance(other, partial):
        return same((one.func, one.args, one.keywords), (other.func, other.args, other.keywords))
    if isinstance(one, type) and isinstance(other, type):
        return _name(one) == _name(other)
    try:
        if isinstance(one, FunctionType) and isinstance(other, FunctionType):
            alike = _name(one) == _name(other) and one.__code__ == other.__code__
            return alike and same(_values_kept_by(one), _values_kept_by(other))
        return bool(one == other)
    except (TypeError, ValueError):  # an == that is no truth value, a variable without a value
        return False


def _name(of: Any) -> tuple[str, str]:
    return of.__module__, of.__qualname__


def _values_kept_by(function: FunctionType) -> tuple[Any, ...]:
    variables = [cell.cell_contents for cell in function.__closure__ or ()]
    return function.__defaults__, function.__kwdefaults__, variables


def _same_numbers(one: Any, other: Any) -> bool:
    one, other = (each.detach().cpu().numpy() if isinstance(each, th.Tensor) else each for each in (one, other))
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
