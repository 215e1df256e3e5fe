"""The whole state of an environment: saved, brought back into any instance built the same way, reseeded."""

from operator import index
from types import FunctionType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from sb3_trpo.simulators import closures, objects
from sb3_trpo.simulators.attributes import LayerState, load_layers, reseeded_layer, save_layers
from sb3_trpo.simulators.known_classes import is_pinned, name_of
from sb3_trpo.simulators.random_states import GeneratorState, streams
from sb3_trpo.simulators.stack import CannotCloneError, Stack, unwrapped


class SimulatorState(NamedTuple):
    """The state of an environment with its wrappers. Opaque and reusable; may be pickled.

    :param names: classes of the layers, outermost first
    :param layers: their attributes
    :param others: pickle of the attributes that are not saved by themselves
    :param own: token of an innermost layer that copies its state itself
    :param seed: of the random generators in ``others`` and ``own``; None where they are as they were
    """

    names: tuple[str, ...]
    layers: list[LayerState]
    others: bytes
    own: Any
    seed: int | None = None


def clone_state(env: gym.Env) -> SimulatorState:
    """Save the state of an environment and all its wrappers, every random generator included.

    The state is what hangs on the attributes of the environment and its wrappers. Not part of it, and copied by nobody:

    - globals of modules, attributes of classes, and functions, closures included, that several instances share;
    - what a library keeps behind an integer handle (PyBullet), and other processes;
    - MuJoCo's contacts and constraint forces, of interest only to what reads them before a step: there is one for each
      contact, and they are the target's own until the next step;
    - the order of a set's elements, where that has a bearing on anything;
    - the models of gymnasium's own MuJoCo environments, which these never change: whoever edits one finds the edits where
      they are after :func:`restore_state` (with anybody else's class about, models are part of the state);
    - ``Monitor``'s records of past episodes, which grow without bound.

    :func:`check_clone` finds out whether an environment depends on any of these.

    :param env: a gymnasium environment; it goes on as if nothing had happened, with one exception: where ALE's own
        actions stick (``repeat_action_probability`` > 0), its last action becomes "no operation"
    :return: a token for :func:`restore_state`
    :raises CannotCloneError: (a ``ValueError``) if something in it cannot be shown to be copied whole
    """
    names, layers, own, trusted = stack = unwrapped(env)
    saved, left = save_layers(layers, trusted)
    others: dict[objects.Key, Any] = {}
    for depth, name in left:
        others.update(_contents(depth, name, layers[depth], trusted))
    pickled = _dump(Stack(*stack), others) if others else b""
    return SimulatorState(names, saved, pickled, None if own is None else own.clone_state())


def restore_state(env: gym.Env, state: SimulatorState) -> None:
    """Bring an environment into a saved state.

    What follows is what followed where the state was saved: observations, rewards, ends of episodes and infos, bit for
    bit, resets included. Only clocks go on (``info["episode"]["t"]``), and rendering shows the state after the next step.

    :param env: the environment the state was saved in, or another built the same way, in whatever state
    :param state: what :func:`clone_state` returned
    :raises ValueError: if the environment is built of other layers
    :raises CannotCloneError: (a ``ValueError``) if it lacks something that stays with an instance, or has another function
        where the state was saved; its own state is of no use after that
    """
    names, layers, own, trusted = stack = unwrapped(env)
    if names != state.names:
        raise ValueError(
            f"The state was saved in {' < '.join(state.names)} and cannot be restored in {' < '.join(names)}: "
            "build both environments the same way, wrappers included."
        )
    if own is not None:
        own.restore_state(state.own)
        if state.seed is not None:
            _reseed_own(Stack(*stack), state.seed)
    if state.others:
        everything = Stack(*stack).everything
        seeds = None if state.seed is None else streams(state.seed, 1)
        for (depth, *path), value in objects.load(state.others, everything, seeds):
            closures.put(everything[depth], tuple(path), value)
    load_layers(layers, state.layers, trusted)


def reseed(state: SimulatorState, seed: int) -> SimulatorState:
    """The same state with new streams in all random generators; equal seeds give equal streams (common random numbers).

    Of a layer that copies its state itself, and of what that wraps, gymnasium's ``np_random`` is reseeded.

    :param state: what :func:`clone_state` returned
    :param seed: at least 0
    :raises TypeError: if the seed is not a whole number
    :raises ValueError: if it is negative
    """
    if index(seed) < 0:
        raise ValueError(f"a seed is at least 0, not {seed}")
    seeds = streams(index(seed), 0)
    return state._replace(layers=[reseeded_layer(layer, seeds) for layer in state.layers], seed=index(seed))


def _reseed_own(stack: Stack, seed: int) -> None:
    """In place, for such a layer may have its generator under other names, too."""
    seeds = streams(seed, 2)
    for layer in stack.everything[len(stack.layers) :]:
        generator = vars(layer).get("_np_random")
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = GeneratorState.of(generator).reseeded(seeds).state


def _contents(depth: int, name: str, layer: Any, trusted: bool) -> dict[objects.Key, Any]:
    """What of an attribute goes into the pickle: itself, or what a function without a name keeps to itself."""
    value = vars(layer)[name]
    if type(value) is not FunctionType or closures.has_name(value):
        return {(depth, name): value}
    try:
        found = closures.contents(value, (name,), trusted)
    except TypeError as error:
        raise CannotCloneError(f"{name_of(type(layer))}.{name}", str(error)) from None
    return {(depth, *path): content for path, content in found.items()}


def _pinned_objects(stack: Stack) -> dict[int, objects.Key]:
    """The layers and what belongs to them, by id; of layers that copy their state themselves, all they have."""
    pinned: dict[int, objects.Key] = {}
    everything = stack.everything
    for depth, layer in enumerate(everything):
        for name, value in vars(layer).items():
            if depth >= len(stack.layers):
                pinned.setdefault(id(value), (depth, name))
            elif type(value) is FunctionType:
                found = closures.functions_in(value, (name,))
                pinned.update({key: (depth, *path) for key, (path, _) in found.items()})
            elif is_pinned(value, stack.trusted):
                pinned.setdefault(id(value), (depth, name))
    pinned.update({id(layer): (depth,) for depth, layer in enumerate(everything)})
    return pinned


def _dump(stack: Stack, others: dict[objects.Key, Any]) -> bytes:
    pinned = _pinned_objects(stack)
    try:
        return objects.dump(others, pinned)
    except Exception:
        for (depth, *path), value in others.items():
            try:
                objects.dump({(depth, *path): value}, pinned)
            except Exception as error:
                raise CannotCloneError(".".join([name_of(type(stack.layers[depth])), *path]), str(error)) from error
        raise
