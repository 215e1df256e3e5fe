"""Explore first: return to a rarely visited state, act at random, remember the best way to each (Ecoffet et al. 2021)."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_trpo.checks import check_count, check_real, check_type
from sb3_trpo.discrete import draw_action, mask_of
from sb3_trpo.restarts.cells import Cell, hashed
from sb3_trpo.restarts.sources import RareFirst
from sb3_trpo.restarts.starts import Start, Trajectory, Visit, Way, retrace
from sb3_trpo.simulators import clone_state, forgets_when_saved


@dataclass
class Exploration:
    """What an exploration has found.

    :param cells: one state for each cell, with the best way to it; a source for :class:`~sb3_trpo.restarts.RestartEnv`
    :param beginning: the start of the episode that all ways begin at
    :param best: the way with the highest return, and of these the one with the fewest steps
    :param total: its return, undiscounted
    :param length: its env steps
    :param steps: env steps that were taken; they count as the training's do
    """

    cells: RareFirst
    beginning: Start
    best: Way | None = None
    total: float = 0.0
    length: int = 0
    steps: int = 0

    def trajectory(self, env: gym.Env, start: Start | None = None) -> Trajectory:
        """The states on the best way, for :class:`~sb3_trpo.restarts.Backward`. The way is retraced, which takes env steps.

        :param env: the one that was explored, or another built like it
        :param start: one of ``cells.starts``; then the states are those on the way to it
        :raises ValueError: if no way has earned more than nothing, so that there is no best one
        :raises RuntimeError: if the way leads elsewhere now
        """
        if start is None and self.best is None:
            raise ValueError(
                "No way has earned more than 0, as much as no step at all earns, so none is the best: explore longer, give "
                "one of cells.starts as start, or let the environment reward what you look for."
            )
        way = self.best if start is None else start.way
        total, steps = (self.total, self.length) if start is None else (start.total, start.steps)
        trajectory = retrace(env, self.beginning, way)
        if (trajectory.total, trajectory.steps) != (total, steps):
            raise RuntimeError(
                f"The {steps} actions of the way earned {total:g} when they were found, and now {trajectory.total:g} in "
                f"{trajectory.steps} steps. Replayed from the same state, they led elsewhere: use an environment built like "
                "the one that was explored, and try sb3_trpo.simulators.check_clone on it."
            )
        return trajectory


def explore(
    env: gym.Env,
    steps: int,
    cell: Cell = hashed,
    segment: int = 50,
    repeat: float = 0.0,
    until: float | None = None,
    capacity: int = 10_000,
    seed: int = 0,
) -> Exploration:
    """Explore an environment without a policy, and without rewards if there are none.

    :param env: with all wrappers that are inside of :class:`~sb3_trpo.restarts.RestartEnv` in training
    :param steps: most env steps, ≥ 1
    :param cell: tells which states are alike
    :param segment: random actions after each return to a saved state, ≥ 1
    :param repeat: probability that an action is the one before once more, if it is possible, in [0, 1); high for continuous
        control
    :param until: ends as soon as a way has this return; None to use all steps
    :param capacity: most cells to keep, ≥ 1
    :param seed: of the start and of all that is random, ≥ 0
    :raises TypeError: for something that is no environment or no number
    :raises ValueError: for a value out of range
    :raises CannotCloneError: (a ``ValueError``) if the state cannot be copied
    """
    check_type("env", env, gym.Env, "a gymnasium environment")
    check_count("steps", steps, 1)
    check_count("segment", segment, 1)
    check_real("repeat", repeat, 0.0, True, 1.0, False)
    rng, actions = np.random.default_rng(seed), deepcopy(env.action_space)
    actions.seed(seed)
    observation, _ = env.reset(seed=seed)
    first = Visit(env, observation, 0, 0.0)
    cells = RareFirst(cell, capacity)
    cells.visit(first, rng)
    found = Exploration(cells, first.save())
    while found.steps < steps and (until is None or found.total < until):
        start = cells.choose(rng)
        assert start is not None
        _explore_from(found, env, start, actions, min(segment, steps - found.steps), repeat, rng)
    return found


def _explore_from(
    found: Exploration, env: gym.Env, start: Start, actions: gym.Space, steps: int, repeat: float, rng: np.random.Generator
) -> None:
    """Take random possible actions from a saved state until the episode or the steps end."""
    seed = int(rng.integers(2**32))
    start.restore(env, seed)
    taken: list[Any] = []
    total, forgets = start.total, forgets_when_saved(env)
    for _ in range(steps):
        if forgets:
            clone_state(env)  # as retracing does at every step
        again = bool(taken) and rng.random() < repeat
        taken.append(draw_action(actions, mask_of(env, actions), taken[-1] if again else None))
        observation, reward, terminated, truncated, _ = env.step(deepcopy(taken[-1]))  # which it may write into
        found.steps += 1
        total += float(reward)
        visit = Visit(env, observation, start.steps + len(taken), total, lambda: Way(start.way, seed, tuple(taken)))
        if (visit.total, -visit.steps) > (found.total, -found.length):
            found.best, found.total, found.length = visit.way(), visit.total, visit.steps  # type: ignore[misc]
        if terminated or truncated:
            return
        found.cells.visit(visit, rng)
