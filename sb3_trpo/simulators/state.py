"""The whole state of an environment: saved, brought back into any instance built the same way, reseeded, and replayed.

A state leaves the models of simulators to its instance where trusted classes never change them, because saving one would take
several times as long as all the rest. A second instance needs them once, and again when the first one's were edited.
"""

from collections.abc import Iterable
from operator import index
from sys import getrefcount
from types import FunctionType
from typing import Any, NamedTuple
from zlib import crc32

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sb3_trpo.discrete import mask_of
from sb3_trpo.simulators import objects
from sb3_trpo.simulators.attributes import LayerState, load_layers, reseeded_layer, save_layers, saver
from sb3_trpo.simulators.instances import UNSHARED_DICT
from sb3_trpo.simulators.layers import CannotCloneError, Stack, is_pinned, is_simulator, name_of, unwrapped
from sb3_trpo.simulators.nameless import Closures, Key
from sb3_trpo.simulators.random_generators import GeneratorState, streams
from sb3_trpo.simulators.saved import Saved


class SimulatorState(NamedTuple):
    """The state of an environment with its wrappers. Opaque and reusable; may be pickled.

    :param names: classes of the layers, outermost first
    :param layers: their attributes
    :param others: pickle of the attributes that are not saved separately
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

    The state is what the attributes of the environment and its wrappers refer to. These are not part of it, and not copied:

    - globals of modules, attributes of classes, and functions, closures included, that several instances share;
    - what a library keeps behind an integer handle (PyBullet), and other processes;
    - MuJoCo's contacts and constraint forces, which matter only to code that reads them before a step: their number
      changes, and until the next step they are the target's own;
    - the order of a set's elements, if anything depends on it;
    - the models of gymnasium's own MuJoCo environments, which these never change: if you edit one, :func:`restore_state`
      leaves your edits where they are (if there is any other class in the environment, models are part of the state);
    - the arrays that gymnasium's own MuJoCo environments reset from (``init_qpos``, ``init_qvel``), likewise;
    - ``Monitor``'s records of past episodes, which grow without bound.

    :func:`check_clone` finds out whether an environment depends on any of these.

    :param env: a gymnasium environment; it goes on as if nothing had happened, with one exception: where ALE's own
        actions stick (``repeat_action_probability`` > 0), its last action becomes "no operation"
    :return: a token for :func:`restore_state`
    :raises CannotCloneError: (a ``ValueError``) if something in it cannot be shown to be copied whole
    """
    names, layers, own, trusted = stack = unwrapped(env)
    saved, left = save_layers(layers, trusted)
    pickled = _dump(Stack(*stack), left) if left else b""
    return SimulatorState(names, saved, pickled, None if own is None else own.clone_state())


def forgets_when_saved(env: gym.Env) -> bool:
    """Whether :func:`clone_state` changes how an environment goes on: ALE forgets which action it may repeat.

    :param env: a gymnasium environment
    """
    attributes = (value for layer in Stack.of(env).everything for value in vars(layer).values())
    consoles = (value for value in attributes if name_of(type(value)) == "ale_py._ale_py.ALEInterface")
    return any(console.getFloat("repeat_action_probability") > 0.0 for console in consoles)


def restore_state(env: gym.Env, state: SimulatorState) -> None:
    """Bring an environment into a saved state.

    What follows is what followed where the state was saved: observations, rewards, ends of episodes and infos, bit for
    bit, resets included. Only clocks go on (``info["episode"]["t"]``), and rendering shows the state after the next step.

    :param env: the environment the state was saved in, or another built the same way, in whatever state
    :param state: what :func:`clone_state` returned
    :raises TypeError: for something else than a state
    :raises ValueError: if the environment is built of other layers
    :raises CannotCloneError: (a ``ValueError``) if it lacks something that stays with an instance, or has another function
        where the state was saved; its own state is of no use after that
    """
    names, layers, own, trusted = stack = unwrapped(env)
    if not isinstance(state, SimulatorState):
        raise TypeError(
            f"An object of type {type(state).__name__} is no state: give what clone_state returned, restore_state(env, state)."
        )
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
        content, functions = objects.load(state.others, everything, seeds)
        for key, value in content:
            if len(key) == 2:  # an attribute, or else a variable of a function
                vars(everything[key[0]])[key[1]] = value
            else:
                functions.cells[key].cell_contents = value
        for key in functions.empty:
            del functions.cells[key].cell_contents
    load_layers(layers, state.layers, trusted)


def reseed(state: SimulatorState, seed: int) -> SimulatorState:
    """The same state with new streams in all random generators; equal seeds give equal streams (common random numbers).

    Of a layer that copies its state itself, and of what that wraps, gymnasium's ``np_random`` is reseeded, and all else that
    its token has a method ``reseeded(seed)`` for.

    :param state: what :func:`clone_state` returned
    :param seed: at least 0
    :raises TypeError: if the seed is not a whole number
    :raises ValueError: if it is negative
    """
    if index(seed) < 0:
        raise ValueError(f"a seed is at least 0, not {seed}")
    seeds = streams(index(seed), 0)
    layers = [reseeded_layer(layer, seeds) for layer in state.layers]
    own = state.own.reseeded(index(seed)) if hasattr(state.own, "reseeded") else state.own
    return state._replace(layers=layers, own=own, seed=index(seed))


def _reseed_own(stack: Stack, seed: int) -> None:
    """In place, because such a layer may have its generator under other names, too."""
    seeds = streams(seed, 2)
    for layer in stack.everything[len(stack.layers) :]:
        generator = vars(layer).get("_np_random")
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = GeneratorState.of(generator).reseeded(seeds).state


def _pinned(stack: Stack) -> objects.Pinned:
    """The layers and what belongs to them, by id; of layers that copy their state themselves, all they have."""
    containers, trusted, n_layers = stack.own is not None, stack.trusted, len(stack.layers)
    pinned: dict[int, Key] = {}
    everything = stack.everything
    for depth, layer in enumerate(everything):
        for name, value in layer.__dict__.items():
            if depth >= n_layers or is_pinned(value, trusted):
                pinned.setdefault(id(value), (depth, name))
        if getrefcount(layer.__dict__) > UNSHARED_DICT:
            containers = True
            pinned[id(layer.__dict__)] = (depth, "__dict__")
    pinned.update({id(layer): (depth,) for depth, layer in enumerate(everything)})
    return objects.Pinned(pinned, everything, containers)


def _dump(stack: Stack, left: list[tuple[int, str]]) -> bytes:
    """The pickle of attributes, by depth and name; empty if these are functions that keep nothing to themselves."""
    pinned, functions = _pinned(stack), Closures(stack.trusted)
    attributes: dict[Key, Any] = {}
    for depth, name in left:
        value = vars(stack.layers[depth])[name]
        attributes[depth, name] = value
        if type(value) is FunctionType and id(value) not in pinned.keys:
            try:
                functions.add(value, (depth, name))
            except TypeError as error:
                raise CannotCloneError(f"{name_of(type(stack.layers[depth]))}.{name}", str(error)) from None
    others = {**attributes, **functions.values()}
    if stack.trusted and all(id(value) in functions.found for value in others.values()):
        return b""
    try:
        return objects.dump(others, functions, pinned)
    except Exception:
        for key, value in others.items():
            try:
                objects.dump({key: value}, functions, pinned)
            except Exception as error:
                depth, *path = key
                raise CannotCloneError(".".join([name_of(type(stack.layers[depth])), *path]), str(error)) from error
        raise


Models = list[tuple[int, str, Saved]]  # depth of a layer, name of an attribute, and what is in it


def clone_models(env: gym.Env) -> Models:
    """Save the models of an environment's simulators, where a state of it may not have them. May be pickled.

    :param env: a gymnasium environment
    """
    models: Models = []
    for depth, layer in enumerate(Stack.of(env).everything):
        for name, value in vars(layer).items():
            if is_simulator(type(value)) and saver(type(value), type(layer), trusted=True) is None:
                save = saver(type(value), type(layer), trusted=False)
                assert save is not None
                model = save(vars(layer), name)
                assert model is not None
                models.append((depth, name, model))
    return models


def restore_models(env: gym.Env, models: Models) -> None:
    """Make an environment's models those of another instance.

    :param env: built like the one whose models they are
    :param models: what :func:`clone_models` returned
    :raises CannotCloneError: (a ``ValueError``) for models of other sizes
    """
    layers = Stack.of(env).everything
    for depth, name, model in models:
        if name in vars(layers[depth]):  # or it is made in a reset, and is part of the state
            model.load(vars(layers[depth]), name)


class Replayed(NamedTuple):
    """What an environment gave in one step.

    :param observation: a checksum of each of its parts
    :param reward: of the step
    :param terminated: whether the episode ended in a terminal state
    :param truncated: whether it was cut, as by a time limit
    """

    observation: tuple[int, ...]
    reward: float
    terminated: bool
    truncated: bool


def _checksums(space: spaces.Space, obs: Any) -> tuple[int, ...]:
    """Of an observation, or of each part of a Dict observation in the order of its space, in the space's dtype."""
    if isinstance(space, spaces.Dict):
        return tuple(checksum for key, part in space.items() for checksum in _checksums(part, obs[key]))
    return (crc32(np.ascontiguousarray(obs, dtype=space.dtype)),)  # type: ignore[arg-type]


def replay(
    env: gym.Env, state: SimulatorState, models: Models | None, actions: Iterable[Any], masked: bool = False
) -> list[Replayed]:
    """Take actions from a saved state until they or the episode end.

    :param env: is left where that leads
    :param state: saved anywhere
    :param models: those of the environment that the state was saved in; None to leave them as they are
    :param actions: one for each step
    :param masked: whether to ask for the mask before each step, as it was done before these
    """
    if models is not None:
        restore_models(env, models)
    restore_state(env, state)
    steps = []
    for action in actions:
        if masked:
            mask_of(env, env.action_space)
        obs, reward, terminated, truncated, _ = env.step(action)
        steps.append(Replayed(_checksums(env.observation_space, obs), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return steps
