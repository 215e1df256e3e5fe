"""A second instance of an environment, built the same way as the first."""

from copy import deepcopy
from types import CellType, FunctionType
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from gymnasium.utils import EzPickle

from sb3_trpo.simulators.closures import cells
from sb3_trpo.simulators.known_classes import is_rendering, is_simulator, without_state
from sb3_trpo.simulators.stack import CannotCloneError, Stack, name_of
from sb3_trpo.simulators.state import clone_state, restore_state


def copy_env(env: gym.Env) -> Any:
    """Another instance with the same wrappers and in the same state, that goes its own way from there.

    Files stay with the original: a copied ``Monitor`` writes none.

    :param env: a gymnasium environment
    :return: the copy; it shares no state with the original
    :raises CannotCloneError: (a ``ValueError``) if the state cannot be copied, or no second instance can be made
    """
    state = clone_state(env)
    stack = Stack.of(env)
    inner = None if stack.own is None else _construct(stack.own) or deepcopy(stack.own)
    for layer in reversed(stack.layers):
        inner = _construct(layer) or _outline(layer, inner)
    restore_state(inner, state)  # type: ignore[arg-type]
    return inner


def _construct(layer: Any) -> Any | None:
    """A new instance from the arguments of the first, where they are known."""
    if isinstance(layer, EzPickle) and not isinstance(layer, gym.Wrapper):
        new: Any = type(layer)(*layer._ezpickle_args, **layer._ezpickle_kwargs)
        new.spec = vars(layer).get("spec")
        return new
    return None


def _outline(layer: Any, inner: Any | None) -> Any:
    """A new instance with what belongs to an instance: a restored state fills in the rest."""
    new = object.__new__(type(layer))
    for name, value in vars(layer).items():
        if is_simulator(type(value)):
            raise CannotCloneError(
                name_of(type(layer)),
                "it holds a simulator, and a second instance cannot be made without the arguments of the first: let the "
                "class derive from gymnasium.utils.EzPickle",
            )
        if isinstance(value, gym.Env):
            vars(new)[name] = inner
        elif type(value) is FunctionType:
            vars(new)[name] = _function(value)
        elif is_rendering(type(value)) or name == "results_writer":
            vars(new)[name] = None
        elif isinstance(value, spaces.Space) or name in without_state(type(layer)):
            vars(new)[name] = deepcopy(value)
    return new


def _function(function: FunctionType) -> FunctionType:
    """The same code with variables of its own, still empty."""
    inner = {name: cell.cell_contents for name, cell in cells(function)}
    closure = tuple(
        CellType(_function(inner[name]) if type(inner.get(name)) is FunctionType else None)
        for name in function.__code__.co_freevars
    )
    new = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, closure)
    new.__kwdefaults__ = function.__kwdefaults__
    return new
