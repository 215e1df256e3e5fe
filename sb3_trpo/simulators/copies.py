"""Second instances of an environment, here and for other processes; and a wrapper that makes its state reachable there."""

import io
from collections.abc import Sequence
from copy import deepcopy
from types import CellType, FunctionType
from typing import Any

import cloudpickle
import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle

from sb3_trpo.simulators.layers import CannotCloneError, Stack, is_rendering, is_simulator, name_of, without_state
from sb3_trpo.simulators.nameless import found_by_name, function_like, has_name
from sb3_trpo.simulators.pygame_objects import drawing_for_a_copy, reduced_for_another_process
from sb3_trpo.simulators.state import (
    Models,
    Replayed,
    SimulatorState,
    clone_models,
    clone_state,
    forgets_when_saved,
    replay,
    restore_models,
    restore_state,
)


def copy_env(env: gym.Env) -> Any:
    """Another instance with the same wrappers and in the same state, that goes its own way from there.

    Files stay with the original: a copied ``Monitor`` writes none. What an environment makes in ``reset`` and keeps to
    itself is made by a reset of the copy.

    :param env: a gymnasium environment
    :return: the copy; it shares no state with the original
    :raises CannotCloneError: (a ``ValueError``) if the state cannot be copied, or no second instance can be made
    """
    state = clone_state(env)
    stack = Stack.of(env)
    memo: dict[int, Any] = {}  # what is one object in several layers is one object in their copies
    if stack.own is not None:
        inner = _construct(stack.own)
        inner = _deep_copy(stack.own, memo) if inner is None else inner
        memo.update({id(old): new for old, new in zip(_chain(stack.own), _chain(inner), strict=True)})
    copy = _second(env, stack, memo)
    restore_models(copy, clone_models(env))
    try:
        restore_state(copy, state)
    except ValueError:
        copy.reset()
        restore_state(copy, state)
    return copy


def _second(layer: Any, stack: Stack, memo: dict[int, Any]) -> Any:
    """A second instance of a layer, with all the layers it wraps or holds.

    :param layer: of the original
    :param stack: of the original
    :param memo: id of what was copied -> its copy
    """
    if id(layer) in memo:
        return memo[id(layer)]
    new = _construct(layer)
    if new is None:
        return _outline(layer, stack, memo)
    _remember(layer, new, stack, memo)
    return new


def _remember(old: Any, new: Any, stack: Stack, memo: dict[int, Any]) -> None:
    """Note what is the counterpart of a constructed layer, of its simulators, and of the layers it holds."""
    memo[id(old)] = new
    layers = set(map(id, stack.layers))
    for name, value in vars(old).items():
        if name in vars(new) and id(value) not in memo:
            if id(value) in layers:
                _remember(value, vars(new)[name], stack, memo)
            elif is_simulator(type(value)):
                memo[id(value)] = vars(new)[name]


def _chain(env: Any) -> list[Any]:
    """An environment and all it wraps."""
    return [env, *_chain(env.env)] if isinstance(env, gym.Wrapper) else [env]


def _deep_copy(own: Any, memo: dict[int, Any]) -> Any:
    """Of an environment that copies its state itself, with all that it wraps."""
    try:
        return deepcopy(own, memo)
    except Exception as error:
        reason = (
            f"no second instance can be made by copy.deepcopy ({error}): give it a __deepcopy__, or let it derive from "
            "gymnasium.utils.EzPickle, and call EzPickle.__init__(self, …) with all of its arguments"
        )
        raise CannotCloneError(name_of(type(own)), reason) from error


def _construct(layer: Any) -> Any | None:
    """A new instance from the arguments of the first, where they are known."""
    if isinstance(layer, EzPickle) and not isinstance(layer, gym.Wrapper):
        try:
            new: Any = type(layer)(*layer._ezpickle_args, **layer._ezpickle_kwargs)
        except (AttributeError, TypeError) as error:  # none, or those of a class that this one derives from
            reason = (
                f"no second instance can be made with the arguments that gymnasium.utils.EzPickle remembers ({error}): call "
                "EzPickle.__init__(self, …) with all of its own arguments in its __init__, after super().__init__"
            )
            raise CannotCloneError(name_of(type(layer)), reason) from error
        new.spec = vars(layer).get("spec")
        return new
    return None


def _outline(layer: Any, stack: Stack, memo: dict[int, Any]) -> Any:
    """A new instance with what belongs to an instance: a restored state fills in the rest."""
    new = memo[id(layer)] = object.__new__(type(layer))
    layers = set(map(id, stack.layers))
    held = [value for value in vars(layer).values() if id(value) in layers]
    for value in sorted(held, key=lambda value: not isinstance(value, gym.Env)):  # others may refer to an environment's parts
        _second(value, stack, memo)
    for name, value in vars(layer).items():
        if id(value) in memo and (isinstance(value, gym.Env) or id(value) in layers or is_simulator(type(value))):
            vars(new)[name] = memo[id(value)]
        elif is_simulator(type(value)):
            raise CannotCloneError(
                name_of(type(layer)),
                "it holds a simulator, and a second instance cannot be made without the arguments of the first: let the "
                "class derive from gymnasium.utils.EzPickle, and call EzPickle.__init__(self, …) with all of its arguments",
            )
        elif isinstance(value, gym.Env):
            continue
        elif type(value) is FunctionType:
            vars(new)[name] = _function(value, memo)
        elif is_rendering(type(value)):
            vars(new)[name] = drawing_for_a_copy(value)
        elif name == "results_writer":
            vars(new)[name] = None
        elif isinstance(value, (spaces.Space, EnvSpec)) or name in without_state(type(layer), stack.trusted):
            vars(new)[name] = deepcopy(value, memo)
    return new


def _function(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """The same code with new, still empty variables; a function that is found by its name is shared instead."""
    if has_name(function):
        return function
    if id(function) in memo:
        return memo[id(function)]
    cells = tuple(memo.setdefault(id(cell), CellType()) for cell in function.__closure__ or ())
    new = memo[id(function)] = function_like(function, cells)
    for old, cell in zip(function.__closure__ or (), cells, strict=True):
        try:
            cell.cell_contents = _function(old.cell_contents, memo) if type(old.cell_contents) is FunctionType else None
        except ValueError:  # not assigned yet
            continue
    return new


class Pickler(cloudpickle.Pickler):
    """Cloudpickle's, which also knows what to do with what environments draw with."""

    def reducer_override(self, obj: Any) -> Any:
        reduced = reduced_for_another_process(obj)
        return super().reducer_override(obj) if reduced is NotImplemented else reduced


class _Pickler(Pickler):
    """The same, but what is found by its name here, or was when this process was forked, is pickled by name.

    By value it would become a second class beside the one that the other process has.
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

    def restore_models(self, models: Models) -> None:
        """See :func:`sb3_trpo.simulators.restore_models`."""
        restore_models(self.env, models)

    def forgets_when_saved(self) -> bool:
        """See :func:`sb3_trpo.simulators.forgets_when_saved`."""
        return forgets_when_saved(self.env)

    def replay(
        self, state: SimulatorState, models: Models | None, actions: Sequence[Any], masked: bool = False
    ) -> list[Replayed]:
        """See :func:`sb3_trpo.simulators.replay`; in a copy, so that the environment stays where it is and records nothing."""
        if self._copy is None:
            self._copy = copy_env(self.env)
        return replay(self._copy, state, models, actions, masked)

    def pickled_copy(self) -> bytes | CannotCloneError:
        """A second instance of the environment inside, to be sent to another process (see ``copy_env``); or why there is none.

        Errors are returned, because a SubprocVecEnv's process ends if one is raised. The copy's models may be as they were
        made: gymnasium's MuJoCo environments are made anew from their arguments where they are unpickled.
        """
        try:
            file = io.BytesIO()
            _Pickler(file).dump(copy_env(self.env))
            return file.getvalue()
        except CannotCloneError as error:
            return error
        except Exception as error:
            return CannotCloneError(
                str(self.env), f"it cannot be pickled for another process ({type(error).__name__}: {error})"
            )
