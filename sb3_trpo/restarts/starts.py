"""What an episode can begin with: a saved state, the observation that was seen there, and how the episode came there."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium as gym

from sb3_trpo.checks import check_type
from sb3_trpo.discrete import mask_of
from sb3_trpo.simulators import SimulatorState, clone_state, reseed, restore_state


class Start(NamedTuple):
    """A state that an episode can begin in. Never changed; may be pickled.

    :param state: of the environment inside :class:`~sb3_trpo.restarts.RestartEnv`
    :param observation: that the environment gave there, which no environment tells twice
    :param steps: env steps from the start of the episode that it was saved in
    :param total: rewards from there, undiscounted
    :param way: how it was reached, if :func:`~sb3_trpo.restarts.explore` found it
    """

    state: SimulatorState
    observation: Any
    steps: int
    total: float
    way: "Way | None" = None

    def restore(self, env: gym.Env, seed: int | None) -> Any:
        """Bring an environment here.

        :param env: built like the one that the state was saved in
        :param seed: of all random generators, from here on; None to leave them as they were
        :return: the observation
        """
        restore_state(env, self.state if seed is None else reseed(self.state, seed))
        return deepcopy(self.observation)


class Way(NamedTuple):
    """Actions after one another, after those of another way.

    :param before: that this one goes on from; None for the start of an episode
    :param seed: of the random generators, when the first of these actions is taken
    :param actions: one for each env step
    """

    before: "Way | None"
    seed: int
    actions: tuple[Any, ...]

    def pieces(self) -> list[tuple[int, tuple[Any, ...]]]:
        """Seeds and actions, from the start of the episode on."""
        pieces: list[tuple[int, tuple[Any, ...]]] = []
        way: Way | None = self
        while way is not None:
            pieces.append((way.seed, way.actions))
            way = way.before
        return pieces[::-1]


class Visit(NamedTuple):
    """The state that an environment is in, to be saved if it is of use.

    :param env: the environment
    :param observation: that it gave last
    :param steps: since the start of the episode
    :param total: rewards since then
    :param way: tells how it was reached, if that is known
    """

    env: gym.Env
    observation: Any
    steps: int
    total: float
    way: Callable[[], Way] | None = None

    def save(self) -> Start:
        """The state as it is now."""
        way = None if self.way is None else self.way()
        return Start(clone_state(self.env), deepcopy(self.observation), self.steps, self.total, way)


class Trajectory(NamedTuple):
    """An episode, or the beginning of one, with its states.

    :param starts: the states before each action, the first one that of the reset
    :param total: rewards of all actions, undiscounted
    :param over: whether the episode ended with the last action
    """

    starts: list[Start]
    total: float
    over: bool

    @property
    def steps(self) -> int:
        """Env steps that it took, and that recording it took."""
        return len(self.starts)


def record(env: gym.Env, actions: Iterable[Any], seed: int | None = None) -> Trajectory:
    """Play actions from the start of an episode and save the state before each, for :class:`~sb3_trpo.restarts.Backward`.

    :param env: with all wrappers that are inside of :class:`~sb3_trpo.restarts.RestartEnv` in training
    :param actions: one for each env step; those after the end of the episode are left out
    :param seed: of the reset; with another one than the actions were found with they may lead elsewhere
    :raises TypeError: for something that is no environment
    :raises CannotCloneError: (a ``ValueError``) if the state cannot be copied
    """
    check_type("env", env, gym.Env, "a gymnasium environment")
    observation, _ = env.reset(seed=seed)
    return _played(env, Visit(env, observation, 0, 0.0), actions)[0]


def retrace(env: gym.Env, start: Start, way: Way | None) -> Trajectory:
    """Go a way again and save the state before each action.

    :param env: built like the one that the way was found in
    :param start: that the way begins at
    :param way: None for one without actions
    """
    trajectory = Trajectory([], start.total, False)
    visit = Visit(env, start.restore(env, None), start.steps, start.total)
    for seed, actions in [] if way is None else way.pieces():
        if not trajectory.over:
            restore_state(env, reseed(clone_state(env), seed))
            piece, visit = _played(env, visit, actions)
            trajectory = piece._replace(starts=trajectory.starts + piece.starts)
    return trajectory


def _played(env: gym.Env, visit: Visit, actions: Iterable[Any]) -> tuple[Trajectory, Visit]:
    starts, over = [], False
    for action in actions:
        starts.append(visit.save())
        mask_of(env, env.action_space)  # who asks may change something: exploration did
        observation, reward, terminated, truncated, _ = env.step(deepcopy(action))  # which it may write into
        visit = Visit(env, observation, visit.steps + 1, visit.total + float(reward))
        over = bool(terminated or truncated)
        if over:
            break
    return Trajectory(starts, visit.total, over), visit
