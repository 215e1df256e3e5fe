"""How fast and where the time goes: things measured in turn, processes held on cores, a clock deep inside a program."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from subprocess import Popen
from typing import Any
from unittest.mock import patch

import numpy as np


def in_turn(rounds: int, measures: Mapping[str, Callable[[], float]]) -> dict[str, np.ndarray]:
    """Each of these ``rounds`` times, one after the other in every round, so that a slow minute is slow for all."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: np.array(values) for name, values in found.items()}


def spread(ratios: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Median and range."""
    return {"ratio": float(np.median(ratios)), "low": float(np.min(ratios)), "high": float(np.max(ratios))}


def hold_processes(processes: Sequence[Popen]) -> None:
    """Give each a core of its own: this machine's kernel packs busy processes onto one."""
    for core, process in zip(sorted(os.sched_getaffinity(0)), processes, strict=False):
        os.sched_setaffinity(process.pid, {core})


class Stopwatch:
    """Time spent in each part of a program, less what its callees in other parts took.

    :param parts: name of a part -> functions it consists of, each as an owner and an attribute's name
    """

    def __init__(self, parts: Mapping[str, Sequence[tuple[Any, str]]]):
        self.parts = parts
        self.seconds = dict.fromkeys(parts, 0.0)
        self.inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.inner.append(0.0)
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - begin
                self.seconds[part] += elapsed - self.inner.pop()
                self.inner[-1] += elapsed

        return wrapper

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Run the clock in these functions for a while."""
        with ExitStack() as stack:
            for part, functions in self.parts.items():
                for owner, name in functions:
                    stack.enter_context(patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield
