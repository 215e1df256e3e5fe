"""Infos of many steps as they are sent: scalars of NumPy's, which take longest to pickle one by one, as arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class PackedInfos(NamedTuple):
    """Infos of steps and environments.

    :param n_steps: how many steps
    :param groups: of those with the same keys: the keys, places among all infos, and a column of values for each key
    :param others: those that are no plain dicts, by place
    """

    n_steps: int
    groups: list[tuple[tuple[str, ...], list[int], list[Any]]]
    others: dict[int, dict[str, Any]]


def pack(steps: Sequence[Sequence[dict[str, Any]]]) -> PackedInfos:
    """Infos of steps and environments, those with the same keys together.

    :param steps: for each step, one dict an environment
    """
    groups: dict[tuple[str, ...], tuple[list[int], list[tuple]]] = {}
    others = {}
    for place, info in enumerate(info for infos in steps for info in infos):
        if type(info) is not dict:
            others[place] = info
            continue
        places, rows = groups.setdefault(tuple(info), ([], []))
        places.append(place)
        rows.append(tuple(info.values()))
    columns = [(keys, places, list(map(_column, zip(*rows, strict=True)))) for keys, (places, rows) in groups.items()]
    return PackedInfos(len(steps), columns, others)


def _column(values: tuple) -> Any:
    kind = type(values[0])
    return np.array(values) if issubclass(kind, np.number) and all(type(value) is kind for value in values) else values


def unpack(packed: PackedInfos) -> list[list[dict[str, Any]]]:
    """The same infos."""
    found = dict(packed.others)
    for keys, places, columns in packed.groups:
        for place, row in zip(places, zip(*columns, strict=True) if columns else [()] * len(places), strict=True):
            found[place] = dict(zip(keys, row, strict=True))
    infos = [found[place] for place in range(len(found))]
    n_envs = len(infos) // packed.n_steps
    return [infos[begin : begin + n_envs] for begin in range(0, len(infos), n_envs)]
