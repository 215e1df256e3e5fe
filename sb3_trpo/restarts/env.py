"""The wrapper that lets episodes begin in saved states."""

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from sb3_trpo.checks import check_real, check_type
from sb3_trpo.restarts.sources import Source
from sb3_trpo.restarts.starts import Start, Visit
from sb3_trpo.simulators import SimulatorState, clone_state, copy_env, reseed, restore_state


class RestartState(NamedTuple):
    """The whole state of a :class:`RestartEnv`. Opaque and reusable; may be pickled.

    :param env: of the environment inside
    :param source: of the source, whose saved states are not copied
    :param stream: of what chooses
    :param own: attributes
    """

    env: SimulatorState
    source: dict[str, Any]
    stream: Any
    own: dict[str, Any]

    def reseeded(self, seed: int) -> "RestartState":
        """For :func:`sb3_trpo.simulators.reseed`."""
        return self._replace(env=reseed(self.env, seed))


class RestartEnv(gym.Wrapper):
    """A share of the episodes begins in a state of the source: exactly that state, with new random streams from there on.

    It is the outermost wrapper, and for training alone: ``make_vec_env(id, wrapper_class=RestartEnv, wrapper_kwargs={"source":
    …, "share": 0.5})``, and evaluation environments without it, or with a share of 0.

    The info of a reset that leads to a saved state has ``"restart"``: the number of the restart, the ``seed`` of its random
    streams, and at how many ``steps`` into its episode the state was saved. The info of the last step has it, too, and in it
    what ``Monitor`` and the environment say of the episode (``"episode"``, ``"is_success"``), so that SB3's statistics are of
    true starts. (``Monitor``'s file has every episode, with the rewards before the saved state.)

    A time limit inside goes on from where it stood in the saved state, so every episode is the rest of one that could have
    begun at the start. A source may cut an episode earlier, as ``Backward`` does. ``Monitor`` has no record of such an
    episode, and has to allow early resets, as it does by default. Frames that ``VecFrameStack`` stacks outside are blank at
    the beginning, as they are at the start; gymnasium's ``FrameStackObservation`` inside brings them back.

    Episodes that begin elsewhere have another objective than the task's: let ``share`` fall to zero before the end
    (:class:`~sb3_trpo.restarts.RestartSchedule`).

    :param env: the environment with all its other wrappers
    :param source: says where episodes begin, and gets to see the states
    :param share: probability that an episode begins where the source says, in [0, 1]; while it is 0, nothing is saved
    :raises TypeError: for something that is no source or no number
    :raises ValueError: for a share outside [0, 1]
    """

    def __init__(self, env: gym.Env, source: Source, share: float = 0.5):
        check_type("source", source, Source, "a sb3_trpo.restarts.Source")
        super().__init__(env)
        self.source = source
        self.set_share(share)
        self.rng = np.random.default_rng()
        self.restarts = 0
        self._began = False  # whether there was ever a reset
        self._start: Start | None = None  # of this episode, if it is a saved one
        self._restart: dict[str, Any] = {}
        self._steps, self._total, self._limit = 0, 0.0, float("inf")

    def set_share(self, share: float) -> None:
        """Change the share.

        :param share: in [0, 1]
        """
        check_real("share", share, 0.0, True, 1.0, True)
        self.share = float(share)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; at the environment's start, if there is a seed or there are options.

        :param seed: of the environment, and of what is chosen here
        :param options: for the environment
        """
        if seed is not None:
            self.rng = np.random.default_rng([seed, 0x5E57])  # not the stream that the environment has
        asked = seed is not None or options is not None or not self._began
        self._start = None if asked or self.rng.random() >= self.share else self.source.choose(self.rng)
        self._began = True
        if self._start is None:
            self._steps, self._total, self._limit = 0, 0.0, float("inf")
            observation, info = self.env.reset(seed=seed, options=options)
            self._visit(observation)
            return observation, info
        stream = int(self.rng.integers(2**32))
        self._restart = {"number": self.restarts, "seed": stream, "steps": self._start.steps}
        self.restarts += 1
        self._steps, self._total = self._start.steps, self._start.total
        self._limit = self.source.cut_after(self._start)
        return self._start.restore(self.env, stream), {"restart": dict(self._restart)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; at the end of an episode that began in a saved state, ``info["restart"]`` describes it.

        :param action: of the environment
        :return: observation, reward, terminated, truncated (also where the source cuts the episode), info
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        self._total += float(reward)
        cut = self._steps >= self._limit and not (terminated or truncated)
        if not (terminated or truncated or cut):
            self._visit(observation)
        elif self._start is not None:
            self.source.ended(self._start, -float("inf") if cut else self._total - self._start.total)
            of_episode = {key: info.pop(key) for key in ("episode", "is_success") if key in info}
            info["restart"] = {**self._restart, **of_episode}
        return observation, reward, terminated, truncated or cut, info

    def _visit(self, observation: Any) -> None:
        if self.share > 0.0:
            self.source.visit(Visit(self.env, observation, self._steps, self._total), self.rng)

    _OWN = ("share", "restarts", "_began", "_start", "_restart", "_steps", "_total", "_limit")

    def clone_state(self) -> RestartState:
        """For :func:`sb3_trpo.simulators.clone_state`."""
        own = {name: getattr(self, name) for name in self._OWN}
        return RestartState(clone_state(self.env), self.source.clone_state(), self.rng.bit_generator.state, own)

    def restore_state(self, state: RestartState) -> None:
        """Inverse of :meth:`clone_state`.

        :param state: what it returned
        """
        restore_state(self.env, state.env)
        self.source.restore_state(state.source)
        self.rng.bit_generator.state = state.stream
        vars(self).update(state.own)

    def __deepcopy__(self, memo: dict[int, Any]) -> "RestartEnv":
        source = type(self.source).__new__(type(self.source))
        vars(source).update({**vars(self.source), **self.source.clone_state()})
        new = RestartEnv(copy_env(self.env), memo.setdefault(id(self.source), source))
        new.restore_state(self.clone_state())
        return new
