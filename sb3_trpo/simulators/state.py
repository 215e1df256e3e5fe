"""The whole state of an environment: saved, brought back into any instance built the same way, reseeded."""

from types import FunctionType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from sb3_trpo.simulators import objects
from sb3_trpo.simulators.attributes import LayerState, load_layer, reseeded_layer, save_layer
from sb3_trpo.simulators.closures import Path, cells, function_at, functions_in
from sb3_trpo.simulators.known_classes import is_pinned
from sb3_trpo.simulators.random_states import GeneratorState, streams
from sb3_trpo.simulators.stack import CannotCloneError, Stack, name_of


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

    :param env: a gymnasium environment; it goes on as if nothing had happened, with one exception: where ALE's own
        actions stick (``repeat_action_probability`` > 0), its last action becomes "no operation"
    :return: a token for :func:`restore_state`
    :raises CannotCloneError: (a ``ValueError``) if something in it cannot be shown to be copied whole
    """
    stack = Stack.of(env)
    saved, others = [], {}
    for depth, layer in enumerate(stack.layers):
        state, left = save_layer(layer)
        saved.append(state)
        for name in left:
            others.update(_contents(depth, name, layer))
    own = None if stack.own is None else stack.own.clone_state()
    return SimulatorState(stack.names, saved, _dump(stack.layers, others) if others else b"", own)


def restore_state(env: gym.Env, state: SimulatorState) -> None:
    """Bring an environment into a saved state.

    What follows is what followed where the state was saved: observations, rewards, ends of episodes and infos, bit for
    bit, resets included. Only clocks go on (``info["episode"]["t"]``), and rendering shows the state after the next step.

    :param env: the environment the state was saved in, or another built the same way, in whatever state
    :param state: what :func:`clone_state` returned
    :raises ValueError: if the environment is built of other layers
    """
    stack = Stack.of(env)
    if stack.names != state.names:
        raise ValueError(
            f"The state was saved in {' < '.join(state.names)} and cannot be restored in {' < '.join(stack.names)}: "
            "build both environments the same way, wrappers included."
        )
    layers = stack.layers
    for layer, saved in zip(layers, state.layers, strict=True):
        load_layer(layer, saved)
    if state.others:
        seeds = None if state.seed is None else streams(state.seed, 1)
        others = objects.load(state.others, lambda key: _pinned_object(layers, key), seeds)
        for (depth, *path), value in others.items():
            _put(vars(layers[depth]), tuple(path), value)
    if stack.own is not None:
        stack.own.restore_state(state.own)
        if state.seed is not None:
            _reseed_own(stack.own, state.seed)


def reseed(state: SimulatorState, seed: int) -> SimulatorState:
    """The same state with new streams in all random generators; equal seeds give equal streams (common random numbers).

    Of a layer that copies its state itself, and of what that wraps, gymnasium's ``np_random`` is reseeded.

    :param state: what :func:`clone_state` returned
    :param seed: at least 0
    """
    seeds = streams(seed, 0)
    return state._replace(layers=[reseeded_layer(layer, seeds) for layer in state.layers], seed=seed)


def _reseed_own(env: Any, seed: int) -> None:
    seeds = streams(seed, 2)
    while env is not None:
        if isinstance(vars(env).get("_np_random"), np.random.Generator):
            GeneratorState.of(env._np_random).reseeded(seeds).load(vars(env), "_np_random")
        env = env.env if isinstance(env, gym.Wrapper) else None


def _contents(depth: int, name: str, layer: Any) -> dict[objects.Key, Any]:
    """What of an attribute goes into the pickle: itself, or of a function what its closure holds besides functions."""
    value = vars(layer)[name]
    if type(value) is not FunctionType:
        return {(depth, name): value}
    try:
        found = functions_in(value, (name,))
    except TypeError as error:
        raise CannotCloneError(f"{name_of(type(layer))}.{name}", str(error)) from None
    contents = {(depth, *path, variable): cell.cell_contents for path, function in found for variable, cell in cells(function)}
    return {key: content for key, content in contents.items() if type(content) is not FunctionType}


def _put(owner: dict[str, Any], path: Path, value: Any) -> None:
    """Undo :func:`_contents`."""
    if len(path) == 1:
        owner[path[0]] = value
    else:
        dict(cells(function_at(owner, path[:-1])))[path[-1]].cell_contents = value


def _pinned_objects(layers: list[Any]) -> dict[int, objects.Key]:
    """The layers and what belongs to them, by id."""
    pinned: dict[int, objects.Key] = {}
    for depth, layer in enumerate(layers):
        for name, value in vars(layer).items():
            if type(value) is FunctionType:
                pinned.update({id(function): (depth, *path) for path, function in functions_in(value, (name,))})
            elif is_pinned(value):
                pinned.setdefault(id(value), (depth, name))
    pinned.update({id(layer): (depth,) for depth, layer in enumerate(layers)})
    return pinned


def _pinned_object(layers: list[Any], key: objects.Key) -> Any:
    """Undo :func:`_pinned_objects`."""
    depth, *path = key
    if not path:
        return layers[depth]
    return function_at(vars(layers[depth]), tuple(path))


def _dump(layers: list[Any], others: dict[objects.Key, Any]) -> bytes:
    pinned = _pinned_objects(layers)
    try:
        return objects.dump(others, pinned)
    except Exception:
        for (depth, *path), value in others.items():
            try:
                objects.dump(value, pinned)
            except Exception as error:
                raise CannotCloneError(".".join([name_of(type(layers[depth])), *path]), str(error)) from error
        raise
