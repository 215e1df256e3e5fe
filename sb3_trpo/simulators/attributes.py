"""The attributes of one layer of an environment: how each is saved, decided by its type.

Values that cannot change are kept as they are; arrays, random generators and simulators are saved separately; what
belongs to the instance (renderers; where only trusted classes are at work spaces, too) stays where it is, and so does what
has no bearing on the simulation. Everything else goes into one pickle for the whole environment (see ``objects``).
"""

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from operator import itemgetter
from sys import getrefcount
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import EzPickle

from sb3_trpo.simulators.layers import (
    SIMULATORS,
    CannotCloneError,
    is_rebinding,
    is_rendering,
    is_simulator,
    is_surface,
    leads_to_simulator,
    name_of,
    without_state,
)
from sb3_trpo.simulators.random_generators import UNSHARED, GeneratorState, Seeds, SpaceState, shares_parts
from sb3_trpo.simulators.saved import Constant, Copy, Drawing, Nested, Owner, Saved, SpecState, nested_copy

# Saves an attribute by itself; None if there is nothing to save, OTHERS if it must go into the pickle of all others.
Saver = Callable[[Owner, str], Saved | None]
OTHERS: Saved = Constant(())

_CONSTANTS = frozenset((int, float, bool, str, bytes, complex, type(None), *np.sctypeDict.values())) - {np.object_, np.void}


def _save_drawing(owner: Owner, name: str) -> Saved:
    return OTHERS if is_surface(owner[name]) else Drawing()


def _save_tuple(owner: Owner, name: str) -> Saved:
    if _CONSTANTS.issuperset(map(type, owner[name])):
        return Constant(owner[name])
    return Drawing() if _draws(owner[name]) else OTHERS


def _draws(values: Collection[Any]) -> bool:
    """Whether these are fonts and the like, and nothing else."""
    kinds = set(map(type, values)) - {type(None)}
    return bool(kinds) and all(map(is_rendering, kinds)) and not any(map(is_surface, values))


def _save_array(owner: Owner, name: str) -> Saved:
    alone = getrefcount(owner[name]) == UNSHARED
    array = owner[name]
    if array.base is None:
        plain = array.flags.c_contiguous and array.flags.writeable and not array.dtype.hasobject
        return Copy.of(array) if alone and plain else OTHERS
    return OTHERS


def _save_list(owner: Owner, name: str) -> Saved:
    alone = getrefcount(owner[name]) == UNSHARED
    if alone and _CONSTANTS.issuperset(map(type, owner[name])):
        return Copy(owner[name].copy())
    return Drawing() if _draws(owner[name]) else OTHERS


def _save_dict(owner: Owner, name: str) -> Saved:
    alone = getrefcount(owner[name]) == UNSHARED
    content = owner[name]
    if alone and _CONSTANTS.issuperset(map(type, content)) and _CONSTANTS.issuperset(map(type, content.values())):
        return Copy(content.copy())
    if alone and _is_nested(content):
        return Nested(nested_copy(content))
    return Drawing() if _draws(content.values()) else OTHERS


def _is_nested(content: dict[Any, Any]) -> bool:
    """Whether a dict consists of constants, and of lists and dicts of such that nothing else refers to."""
    for key in content:
        kind = type(content[key])
        if kind in _CONSTANTS:
            continue
        if kind not in (list, dict, tuple) or (kind is not tuple and getrefcount(content[key]) != UNSHARED):
            return False
        parts = content[key]
        if not (_is_nested(parts) if kind is dict else _CONSTANTS.issuperset(map(type, parts))):
            return False
    return _CONSTANTS.issuperset(map(type, content))


def _save_spec(owner: Owner, name: str) -> Saved:
    alone = getrefcount(owner[name]) == UNSHARED
    return SpecState.of(owner[name]) if alone and name == "spec" and _is_nested(owner[name].__dict__) else OTHERS


def _save_trusted_generator(owner: Owner, name: str) -> Saved:
    return GeneratorState.of(owner[name]) if getrefcount(owner[name]) == UNSHARED else OTHERS


def _save_generator(owner: Owner, name: str) -> Saved:
    if getrefcount(owner[name]) != UNSHARED or shares_parts(owner[name]):
        return OTHERS
    return GeneratorState.of(owner[name], spawns=True)


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
    EnvSpec: _save_spec,
}


def saver(kind: type, layer: type, trusted: bool) -> Saver | None:
    """How attributes of a type are saved in a class of layers; None if they are left to the instance.

    :param trusted: whether only trusted classes are at work: they never change a space, nor spawn generators
    """
    if is_simulator(kind):
        module, _, function = SIMULATORS[name_of(kind)].partition(":")
        return getattr(import_module(module), function)(layer, trusted)
    if trusted and (kind is EnvSpec or is_rendering(kind)):
        return None
    if is_rendering(kind):
        return _save_drawing
    if trusted and issubclass(kind, spaces.Space):
        return _save_space
    if trusted and kind is np.random.Generator:
        return _save_trusted_generator
    return _SAVERS.get(kind, _save_others)


class _Plan:
    """How the layers of one class are saved, as long as their attributes keep names and types.

    :param layer: one of them
    :param trusted: whether only trusted classes are at work in the environment
    """

    def __init__(self, layer: Any, trusted: bool):
        owner, kind = vars(layer), type(layer)
        if isinstance(layer, EzPickle) and not leads_to_simulator(layer, set()):
            raise CannotCloneError(
                name_of(kind),
                "it is made anew when it is pickled (gymnasium.utils.EzPickle), a sign of state outside Python, and no "
                "simulator known here is among its attributes",
            )
        rebinds = trusted and is_rebinding(kind)
        kept = _CONSTANTS | {tuple, np.ndarray} if rebinds else _CONSTANTS
        if any(vars(base).get("__slots__") for base in kind.__mro__):
            raise CannotCloneError(name_of(kind), "it keeps attributes in __slots__, where they are not looked for")
        if kind.__basicsize__ > gym.Env.__basicsize__:
            raise CannotCloneError(name_of(kind), "it derives from a class with memory of its own, besides attributes")
        relevant = {name: type(value) for name, value in owner.items() if name not in without_state(kind, trusted)}
        others = [name for name, of in relevant.items() if of not in kept]
        savers = ((name, saver(relevant[name], kind, trusted)) for name in others)
        self.size = len(owner)
        self.names = tuple(owner)
        self.order = None if trusted else self.names  # trusted classes neither take attributes away nor go by their order
        self.constants = tuple(name for name in relevant if name not in others)
        self.n_constants = len(self.constants)
        self.read = _getter([*self.constants, *others])
        self.checked = slice(len(self.constants) if rebinds else 0, None)
        self.kinds = tuple(map(type, self.read(owner)[self.checked]))
        self.savers = tuple((name, save) for name, save in savers if save is not None)


def _getter(names: Sequence[str]) -> Callable[[Owner], tuple[Any, ...]]:
    """The values of some attributes."""
    if len(names) > 1:
        return itemgetter(*names)  # several times the speed of a loop
    return lambda owner: tuple(owner[name] for name in names)


_PLANS: tuple[dict[type, _Plan], ...] = ({}, {})  # with classes that are not trusted in the environment, and without


# The attributes of one layer: names of all, names of those kept as they are, their values, and the rest by name. A bare
# tuple, because an instance of a class would take a tenth of the time of saving a light environment.
LayerState = tuple[tuple[str, ...], tuple[str, ...], tuple[Any, ...], list[tuple[str, Saved]]]


def save_layers(layers: Sequence[Any], trusted: bool) -> tuple[list[LayerState], list[tuple[int, str]]]:
    """The states of layers, and the attributes, by depth and name, that are left for the pickle.

    All layers in one call, because one call for each layer would take a tenth of the time of saving a light environment.

    :param layers: of an environment
    :param trusted: whether only trusted classes are at work in the environment
    :raises CannotCloneError: for an attribute that cannot be copied whole
    """
    states, left = [], []
    plans = _PLANS[trusted]
    for depth, layer in enumerate(layers):
        owner, kind = layer.__dict__, type(layer)
        try:
            plan = plans[kind]
            values = plan.read(owner)
            fits = len(owner) == plan.size and tuple(map(type, values[plan.checked])) == plan.kinds
            if plan.order is not None:
                fits = fits and tuple(owner) == plan.order
        except KeyError:  # the first of its class, or it has lost an attribute
            fits = False
        if not fits:
            plan = plans[kind] = _Plan(layer, trusted)
            values = plan.read(owner)
        constants = values[: plan.n_constants]
        del values  # or every attribute would have one reference more
        saved = []
        for name, save in plan.savers:
            try:
                state = save(owner, name)
            except TypeError as error:
                raise CannotCloneError(f"{name_of(kind)}.{name}", str(error)) from None
            if state is OTHERS:
                left.append((depth, name))
            elif state is not None:
                saved.append((name, state))
        states.append((plan.names, plan.constants, constants, saved))
    return states, left


def load_layers(layers: Sequence[Any], states: Sequence[LayerState], trusted: bool) -> None:
    """Bring layers into a state; what went into the pickle must be there already.

    Attributes that they have gained since then are removed, unless they have no bearing on the simulation.

    :param layers: of an environment
    :param states: what :func:`save_layers` returned
    :param trusted: as there
    :raises CannotCloneError: for an attribute that is left to the instance, and which the instance does not have yet
    """
    for layer, (names, constants, values, saved) in zip(layers, states):  # noqa: B905 (equally many, and checking takes time)
        owner = layer.__dict__
        owner.update(zip(constants, values))  # noqa: B905
        for name, attribute in saved:
            try:
                attribute.load(owner, name)
            except KeyError:
                raise _missing(layer, name) from None
        if len(owner) != len(names) or not (trusted or tuple(owner) == names):
            _reconcile(layer, names, saved, trusted)


def _reconcile(layer: Any, names: tuple[str, ...], saved: list[tuple[str, Saved]], trusted: bool) -> None:
    """Take away the attributes that a layer did not have when it was saved; it must have those that it had, in their order."""
    owner = layer.__dict__
    ignored = without_state(type(layer), trusted).union(name for name, of in saved if type(of) is Drawing)
    for name in set(names) - owner.keys() - ignored:
        raise _missing(layer, name)
    for name in owner.keys() - set(names) - ignored:
        if not is_rendering(type(owner[name])):
            del owner[name]
    for name in names:
        if name in owner:
            owner[name] = owner.pop(name)


def _missing(layer: Any, name: str) -> CannotCloneError:
    return CannotCloneError(
        f"{name_of(type(layer))}.{name}",
        "it stays with its instance, and the one where the state is to be restored has none yet: reset that once before",
    )


def reseeded_layer(state: LayerState, seeds: Seeds) -> LayerState:
    """The same with new streams in its random generators."""
    names, constants, values, saved = state
    return names, constants, values, [(name, attribute.reseeded(seeds)) for name, attribute in saved]
