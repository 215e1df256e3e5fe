"""Saving, restoring and replaying as methods of an environment, for those that can only be called by name."""

import io
from collections.abc import Sequence
from typing import Any

import cloudpickle
import gymnasium as gym

from sb3_trpo.simulators.closures import found_by_name
from sb3_trpo.simulators.copies import copy_env
from sb3_trpo.simulators.models import Models, clone_models
from sb3_trpo.simulators.replay import Replayed, replay
from sb3_trpo.simulators.stack import CannotCloneError
from sb3_trpo.simulators.state import SimulatorState, clone_state, restore_state


class _Pickler(cloudpickle.Pickler):
    """Cloudpickle's, but what is found by its name here, or was when this process was forked, goes by name.

    It would be another class beside the one that the other process has.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and found_by_name(obj.__module__, obj.__qualname__) is obj:
            return NotImplemented
        return super().reducer_override(obj)


class CloneableEnv(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Offers ``clone_state`` and ``restore_state`` of everything inside to ``VecEnv.env_method``.

    The environments of a ``SubprocVecEnv`` live in other processes, where only their own methods can be called. Make it the
    outermost wrapper: ``make_vec_env(..., vec_env_cls=SubprocVecEnv, wrapper_class=CloneableEnv)``.

    :param env: the environment with all its other wrappers
    """

    def __init__(self, env: gym.Env):
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self._copy: gym.Env | None = None  # to replay in

    def __deepcopy__(self, memo: dict[int, Any]) -> "CloneableEnv":
        return CloneableEnv(copy_env(self.env))

    def clone_state(self) -> SimulatorState:
        """See :func:`sb3_trpo.simulators.clone_state`."""
        return clone_state(self.env)

    def restore_state(self, state: SimulatorState) -> None:
        """See :func:`sb3_trpo.simulators.restore_state`."""
        restore_state(self.env, state)

    def clone_models(self) -> Models:
        """See :func:`sb3_trpo.simulators.clone_models`."""
        return clone_models(self.env)

    def replay(self, state: SimulatorState, models: Models | None, actions: Sequence[Any]) -> list[Replayed]:
        """See :func:`sb3_trpo.simulators.replay`; in a copy, so that the environment stays where it is and records nothing."""
        if self._copy is None:
            self._copy = copy_env(self.env)
        return replay(self._copy, state, models, actions)

    def pickled_copy(self) -> bytes | CannotCloneError:
        """A second instance of the environment inside, to be sent to another process (see ``copy_env``); or why there is none.

        Errors are returned, for a SubprocVecEnv's process ends with one that is raised. The copy's models may be as they were
        made: gymnasium's MuJoCo environments are made anew from their arguments where they are unpickled.
        """
        try:
            file = io.BytesIO()
            _Pickler(file).dump(copy_env(self.env))
            return file.getvalue()
        except CannotCloneError as error:
            return error
