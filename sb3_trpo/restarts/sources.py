"""Which saved states episodes begin in: every visited one alike, or more often those that were rarely visited.

A source is what a run has learned of its environments, like VecNormalize's statistics. The environments of a DummyVecEnv may
have one together; in worker processes each has its own.
"""

import pickle
from collections.abc import Hashable
from copy import copy
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from sb3_trpo.checks import check_count
from sb3_trpo.restarts.cells import Cell, hashed
from sb3_trpo.restarts.starts import Start, Visit


class Source:
    """Says where an episode begins. This one never has a saved state; subclasses replace what they need."""

    def visit(self, visit: Visit, rng: np.random.Generator) -> None:
        """Take note of a state, or save it.

        :param visit: a state that the environment is in, after a reset or a step that did not end the episode
        :param rng: of the environment's wrapper
        """

    def choose(self, rng: np.random.Generator) -> Start | None:
        """A state for the next episode to begin in; None for the environment's own start.

        :param rng: of the environment's wrapper
        """
        return None

    def cut_after(self, start: Start) -> float:
        """When to cut an episode that began in a saved state: at so many env steps, counted from the episode's start. Infinity
        for never. It ends as by a time limit.

        :param start: where it began
        """
        return float("inf")

    def ended(self, start: Start, total: float) -> None:
        """Learn how an episode went that began in a saved state.

        :param start: where it began
        :param total: rewards from there to its end, undiscounted; minus infinity if it was cut by :meth:`cut_after`
        """

    def clone_state(self) -> dict[str, Any]:
        """What an exact checkpoint keeps of it. Collections are copied; the saved states in them are shared."""
        return {name: copy(value) for name, value in vars(self).items() if not callable(value)}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`clone_state`.

        :param state: what it returned
        """
        vars(self).update({name: copy(value) for name, value in state.items()})

    def save(self, path: str | Path) -> None:
        """Write the source with its saved states to a file.

        :param path: of the file, which is replaced
        """
        Path(path).write_bytes(cloudpickle.dumps(self))

    @staticmethod
    def load(path: str | Path) -> "Source":
        """Read what :meth:`save` wrote. It is a pickle: load only files that you trust.

        :param path: of the file
        :return: the source
        """
        return pickle.loads(Path(path).read_bytes())


class Visited(Source):
    """All states that were ever visited, each with the same probability (Tavakoli et al. 2018).

    Of n visited states a random ``capacity`` are kept, each of them with probability ``capacity``/n (reservoir sampling), so
    saving gets rare as the run goes on.

    :param capacity: states kept, ≥ 1
    :raises ValueError: for no capacity
    """

    def __init__(self, capacity: int = 1000):
        check_count("capacity", capacity, 1)
        self.capacity = capacity
        self.visits = 0
        self.starts: list[Start] = []

    def visit(self, visit: Visit, rng: np.random.Generator) -> None:
        self.visits += 1
        if len(self.starts) < self.capacity:
            self.starts.append(visit.save())
        elif (place := int(rng.random() * self.visits)) < self.capacity:
            self.starts[place] = visit.save()

    def choose(self, rng: np.random.Generator) -> Start | None:
        return self.starts[rng.integers(len(self.starts))] if self.starts else None


class RareFirst(Source):
    """One state for each cell, chosen with probability proportional to 1/√(visits of the cell) (Ecoffet et al. 2021).

    The state is the one with the highest return up to there, and of these the one reached in fewest steps. Where there are
    more cells than room, the most visited cell makes place for a new one and is forgotten.

    :param cell: tells which states are alike, given environment and observation; the default takes observations that are
        equal bit for bit
    :param capacity: cells kept, ≥ 1
    :raises ValueError: for no capacity
    """

    def __init__(self, cell: Cell = hashed, capacity: int = 1000):
        check_count("capacity", capacity, 1)
        self.cell, self.capacity = cell, capacity
        self.places: dict[Hashable, int] = {}
        self.cells: list[Hashable] = []
        self.starts: list[Start] = []
        self.counts = np.zeros(capacity)

    def visit(self, visit: Visit, rng: np.random.Generator) -> None:
        cell = self.cell(visit.env, visit.observation)
        place = self.places.get(cell)
        if place is None:
            self._add(cell, visit)
            return
        self.counts[place] += 1
        known = self.starts[place]
        if (visit.total, -visit.steps) > (known.total, -known.steps):
            self.starts[place] = visit.save()

    def _add(self, cell: Hashable, visit: Visit) -> None:
        start, place = visit.save(), len(self.cells)
        if place == self.capacity:
            place = int(self.counts.argmax())
            del self.places[self.cells[place]]
            self.cells[place], self.starts[place] = cell, start
        else:
            self.cells.append(cell)
            self.starts.append(start)
        self.places[cell], self.counts[place] = place, 1

    def choose(self, rng: np.random.Generator) -> Start | None:
        if not self.starts:
            return None
        sums = np.cumsum(self.counts[: len(self.starts)] ** -0.5)
        return self.starts[np.searchsorted(sums, rng.random() * sums[-1], side="right")]
