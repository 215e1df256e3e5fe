"""Two settings are the same if a run with one is a run with the other, wherever they were made."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_trpo.equality import same


def extractor(size: int, where: str = __name__) -> type:
    """A class as a script defines it: each process has its own."""
    return type("Extractor", (), {"__module__": where, "size": size})


def scaled(factor: float) -> Callable[[float], float]:
    return lambda number: factor * number


ALIKE: list[tuple[Any, Any]] = [
    (1, 1.0),
    ("tanh", "tanh"),
    (None, None),
    ((8, 8), [8, 8]),
    ({"net_arch": {"pi": (8,), "vf": []}}, {"net_arch": {"pi": [8], "vf": ()}}),
    (extractor(3), extractor(3)),
    ({"features_extractor_class": extractor(3)}, {"features_extractor_class": extractor(3)}),
    (np.zeros(3), np.zeros(3)),
    (np.array([np.nan, 1.0]), np.array([np.nan, 1.0])),
    (np.array(["a"]), np.array(["a"])),
    (th.arange(3), th.arange(3)),
    ({"features_extractor_kwargs": {"mean": np.ones((2, 2))}}, {"features_extractor_kwargs": {"mean": np.ones((2, 2))}}),
    (partial(max, 1, key=abs), partial(max, 1, key=abs)),
    (scaled(2.0), scaled(2.0)),
]
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 2),
    ("tanh", None),
    ((8, 8), [8]),
    ({"a": 1}, {"b": 1}),
    ({"a": 1}, {"a": 1, "b": 2}),
    (extractor(3), extractor(3, "elsewhere")),
    (np.zeros(3), np.ones(3)),
    (np.zeros(3), np.zeros(4)),
    (np.zeros(3), np.zeros(3, dtype=np.float32)),
    (np.zeros(3), [0.0, 0.0, 0.0]),
    (th.arange(3), np.arange(3)),
    (partial(max, 1), partial(max, 2)),
    (scaled(2.0), scaled(3.0)),
    (scaled(2.0), lambda number: 2.0 * number),
    (object(), object()),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_alike(one: Any, other: Any) -> None:
    assert same(one, other) and same(other, one) and same(one, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different(one: Any, other: Any) -> None:
    assert not same(one, other) and not same(other, one)
