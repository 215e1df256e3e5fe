"""The attributes of one layer of an environment: how each is saved, decided by its type.

Values that cannot change are kept as they are; arrays, random generators and simulators are saved by themselves; what
belongs to the instance (spaces, functions, renderers, the layers themselves) stays where it is, and so does what has no
bearing on the simulation. Everything else goes into one pickle for the whole environment (see ``objects``).
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from operator import itemgetter
from sys import getrefcount
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle

from sb3_trpo.simulators.known_classes import REBINDING, SIMULATORS, is_pinned, is_rendering, is_simulator, without_state
from sb3_trpo.simulators.random_states import UNSHARED, GeneratorState, Seeds, SpaceState
from sb3_trpo.simulators.stack import CannotCloneError, name_of

Owner = dict[str, Any]


class Saved(Protocol):
    """The saved state of one attribute."""

    def load(self, owner: Owner, name: str) -> None:
        """Bring ``owner[name]`` into this state."""
        ...

    def reseeded(self, seeds: Seeds) -> "Saved":
        """The same with new streams in its random generators, if it has any."""
        ...


class Constant(NamedTuple):
    """A tuple that cannot change."""

    value: tuple

    def load(self, owner: Owner, name: str) -> None:
        owner[name] = self.value

    def reseeded(self, seeds: Seeds) -> "Constant":
        return self


class Copy(NamedTuple):
    """An array, or a list or dict of constants, to which nobody else refers."""

    value: Any

    def load(self, owner: Owner, name: str) -> None:
        owner[name] = self.value.copy()

    def reseeded(self, seeds: Seeds) -> "Copy":
        return self


# Saves an attribute by itself; None if there is nothing to save, OTHERS if it must go into the pickle of all others.
Saver = Callable[[Owner, str], Saved | None]
OTHERS: Saved = Constant(())

_CONSTANTS = frozenset((int, float, bool, str, bytes, complex, type(None), *np.sctypeDict.values())) - {np.object_, np.void}


def _save_tuple(owner: Owner, name: str) -> Saved:
    return Constant(owner[name]) if _CONSTANTS.issuperset(map(type, owner[name])) else OTHERS


def _save_array(owner: Owner, name: str) -> Saved | None:
    alone = getrefcount(owner[name]) == UNSHARED
    array = owner[name]
    if array.base is None:
        return Copy(array.copy()) if alone and array.flags.c_contiguous and not array.dtype.hasobject else OTHERS
    if name_of(type(array.base)) == "builtins.PyCapsule":
        simulators = [value for value in owner.values() if name_of(type(value)) == "mujoco._structs.MjData"]
        if any(_looks_into(array, data) for data in simulators):
            return None
    return OTHERS


def _looks_into(array: np.ndarray, data: Any) -> bool:
    fields = (getattr(data, field) for field in dir(data) if not field.startswith("_"))
    return any(isinstance(field, np.ndarray) and np.may_share_memory(array, field) for field in fields)


def _save_list(owner: Owner, name: str) -> Saved:
    alone = getrefcount(owner[name]) == UNSHARED
    return Copy(owner[name].copy()) if alone and _CONSTANTS.issuperset(map(type, owner[name])) else OTHERS


def _save_dict(owner: Owner, name: str) -> Saved:
    alone = getrefcount(owner[name]) == UNSHARED
    content = owner[name]
    constant = _CONSTANTS.issuperset(map(type, content)) and _CONSTANTS.issuperset(map(type, content.values()))
    return Copy(content.copy()) if alone and constant else OTHERS


def _save_generator(owner: Owner, name: str) -> Saved:
    return GeneratorState.of(owner[name]) if getrefcount(owner[name]) == UNSHARED else OTHERS


def _save_space(owner: Owner, name: str) -> Saved | None:
    return SpaceState.of(owner[name])


def _save_others(owner: Owner, name: str) -> Saved:
    return OTHERS


_SAVERS: dict[type, Saver] = {
    np.ndarray: _save_array,
    np.random.Generator: _save_generator,
    tuple: _save_tuple,
    list: _save_list,
    dict: _save_dict,
}


def _saver(kind: type, layer: type) -> Saver | None:
    """How attributes of a type are saved in a class of layers; None if they are left to the instance."""
    if is_simulator(kind):
        module, _, function = SIMULATORS[name_of(kind)].partition(":")
        return getattr(import_module(module), function)(layer)
    if issubclass(kind, spaces.Space):
        return _save_space
    if issubclass(kind, (gym.Env, EnvSpec)) or is_rendering(kind):
        return None
    return _SAVERS.get(kind, _save_others)


class _Plan:
    """How the layers of one class are saved, as long as their attributes keep names and types.

    :param layer: one of them
    """

    def __init__(self, layer: Any):
        owner, kind = vars(layer), type(layer)
        if isinstance(layer, EzPickle) and not any(is_simulator(type(value)) for value in owner.values()):
            raise CannotCloneError(
                name_of(kind),
                "it is made anew when it is pickled (gymnasium.utils.EzPickle), a sign of state outside Python, and no "
                "simulator known here is among its attributes",
            )
        rebinds = name_of(kind).startswith(REBINDING)
        kept = _CONSTANTS | {tuple, np.ndarray} if rebinds else _CONSTANTS
        if any(vars(base).get("__slots__") for base in kind.__mro__):
            raise CannotCloneError(name_of(kind), "it keeps attributes in __slots__, where they are not looked for")
        relevant = {name: type(value) for name, value in owner.items() if name not in without_state(kind)}
        others = [name for name, of in relevant.items() if of not in kept]
        savers = ((name, _saver(relevant[name], kind)) for name in others)
        self.size = len(owner)
        self.names = tuple(owner)
        self.constants = tuple(name for name in relevant if name not in others)
        self.read = _getter([*self.constants, *others])
        self.checked = slice(len(self.constants) if rebinds else 0, None)
        self.kinds = tuple(map(type, self.read(owner)[self.checked]))
        self.savers = tuple((name, saver) for name, saver in savers if saver is not None)


def _getter(names: Sequence[str]) -> Callable[[Owner], tuple[Any, ...]]:
    """The values of some attributes."""
    if len(names) > 1:
        return itemgetter(*names)  # several times the speed of a loop
    return lambda owner: tuple(owner[name] for name in names)


_PLANS: dict[type, _Plan] = {}


# The attributes of one layer: names of all, names of those kept as they are, their values, and the rest by name. A bare
# tuple, for a class of its own would take a tenth of the time of saving a light environment.
LayerState = tuple[tuple[str, ...], tuple[str, ...], tuple[Any, ...], list[tuple[str, Saved]]]


def save_layer(layer: Any) -> tuple[LayerState, list[str]]:
    """The state of a layer, and the names of the attributes that are left for the pickle.

    :raises CannotCloneError: for an attribute that cannot be copied whole
    """
    owner, kind = vars(layer), type(layer)
    try:
        plan = _PLANS[kind]
        values = plan.read(owner)
        fits = len(owner) == plan.size and tuple(map(type, values[plan.checked])) == plan.kinds
    except KeyError:  # the first of its class, or it has lost an attribute
        fits = False
    if not fits:
        plan = _PLANS[kind] = _Plan(layer)
        values = plan.read(owner)
    constants = values[: len(plan.constants)]
    del values  # or every attribute would have one reference more
    saved, others = [], []
    for name, save in plan.savers:
        try:
            state = save(owner, name)
        except TypeError as error:
            raise CannotCloneError(f"{name_of(kind)}.{name}", str(error)) from None
        if state is OTHERS:
            others.append(name)
        elif state is not None:
            saved.append((name, state))
    return (plan.names, plan.constants, constants, saved), others


def load_layer(layer: Any, state: LayerState) -> None:
    """Bring a layer into a state; attributes it got since are taken away, unless they belong to the instance."""
    owner = vars(layer)
    names, constants, values, saved = state
    owner.update(zip(constants, values))  # noqa: B905 (as long as each other, and checking takes time)
    for name, attribute in saved:
        attribute.load(owner, name)
    if len(owner) > len(names):
        for name in owner.keys() - set(names) - without_state(type(layer)):
            if not is_pinned(owner[name]):
                del owner[name]


def reseeded_layer(state: LayerState, seeds: Seeds) -> LayerState:
    """The same with new streams in its random generators."""
    names, constants, values, saved = state
    return names, constants, values, [(name, attribute.reseeded(seeds)) for name, attribute in saved]
