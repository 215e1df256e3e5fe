"""A second instance of an environment, built the same way as the first."""

from copy import deepcopy
from types import CellType, FunctionType
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle

from sb3_trpo.simulators.closures import function_like, has_name
from sb3_trpo.simulators.known_classes import is_rendering, is_simulator, name_of, without_state
from sb3_trpo.simulators.models import clone_models, restore_models
from sb3_trpo.simulators.stack import CannotCloneError, Stack
from sb3_trpo.simulators.state import clone_state, restore_state


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
    inner = None
    if stack.own is not None:
        inner = _construct(stack.own)
        inner = _deep_copy(stack.own, memo) if inner is None else inner
        memo.update({id(old): new for old, new in zip(_chain(stack.own), _chain(inner), strict=True)})
    for layer in reversed(stack.layers):
        inner = _construct(layer)
        inner = _outline(layer, stack.trusted, memo) if inner is None else inner
        memo[id(layer)] = inner
        for name, value in vars(layer).items():
            if is_simulator(type(value)) and name in vars(inner):
                memo[id(value)] = vars(inner)[name]
    restore_models(inner, clone_models(env))  # type: ignore[arg-type]
    try:
        restore_state(inner, state)  # type: ignore[arg-type]
    except CannotCloneError:
        inner.reset()  # type: ignore[union-attr]
        restore_state(inner, state)  # type: ignore[arg-type]
    return inner


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


def _outline(layer: Any, trusted: bool, memo: dict[int, Any]) -> Any:
    """A new instance with what belongs to an instance: a restored state fills in the rest.

    :param layer: of the original
    :param trusted: whether only trusted classes are at work in the environment
    :param memo: id of what was copied -> its copy
    """
    new = object.__new__(type(layer))
    for name, value in vars(layer).items():
        if id(value) in memo and (isinstance(value, gym.Env) or is_simulator(type(value))):
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
        elif is_rendering(type(value)) or name == "results_writer":
            vars(new)[name] = None
        elif isinstance(value, (spaces.Space, EnvSpec)) or name in without_state(type(layer), trusted):
            vars(new)[name] = deepcopy(value, memo)
    return new


def _function(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """The same code with variables of its own, still empty; a function that is found by its name is nobody's own."""
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
