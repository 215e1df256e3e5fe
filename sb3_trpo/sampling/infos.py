"""Infos of many steps as they are sent: scalars of NumPy's, which take longest to pickle one by one, as arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def pack(steps: Sequence[Sequence[dict[str, Any]]]) -> tuple[int, list[tuple[tuple[str, ...], list[int], list[Any]]]]:
    """Infos of steps and environments, those with the same keys together.

    :param steps: for each step, one dict an environment
    """
    groups: dict[tuple[str, ...], tuple[list[int], list[tuple]]] = {}
    for place, info in enumerate(info for infos in steps for info in infos):
        places, rows = groups.setdefault(tuple(info), ([], []))
        places.append(place)
        rows.append(tuple(info.values()))
    return len(steps), [(keys, places, list(map(_column, zip(*rows, strict=True)))) for keys, (places, rows) in groups.items()]


def _column(values: tuple) -> Any:
    kind = type(values[0])
    return np.array(values) if issubclass(kind, np.number) and all(type(value) is kind for value in values) else values


def unpack(packed: tuple[int, list[tuple[tuple[str, ...], list[int], list[Any]]]]) -> list[list[dict[str, Any]]]:
    """The same infos."""
    n_steps, groups = packed
    infos: list[dict[str, Any]] = [{}] * sum(len(places) for _, places, _ in groups)
    for keys, places, columns in groups:
        for place, row in zip(places, zip(*columns, strict=True) if columns else [()] * len(places), strict=True):
            infos[place] = dict(zip(keys, row, strict=True))
    n_envs = len(infos) // n_steps
    return [infos[begin : begin + n_envs] for begin in range(0, len(infos), n_envs)]
