"""An environment as its layers, the wrappers from the outermost inwards, and what is known of their and others' classes.

Environments and other objects that a layer holds as attributes are layers, too, if they lead to a simulator.
"""

import enum
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec


def _name_of(kind: type) -> str:
    """A class's name with its module, the same in a process that it was sent to from within a function.

    Some classes that are written in C have no module.
    """
    return f"{getattr(kind, '__module__', 'builtins')}.{kind.__qualname__.rpartition('<locals>.')[2]}"


name_of: Callable[[type], str] = cache(_name_of)

# Packages whose environments and wrappers are known to use nothing of one another but what ``step`` and ``reset`` pass on…
_TRUSTED = ("gymnasium.", "stable_baselines3.", "sb3_trpo.", "ale_py.", "rl_zoo3.")
# …except for these, which run whatever function they are given.
_RUNNING_ANYTHING = (
    "gymnasium.wrappers.transform_action.TransformAction",
    "gymnasium.wrappers.transform_observation.TransformObservation",
    "gymnasium.wrappers.transform_reward.TransformReward",
)

# Simulators by their class, each with the module here that saves it: imported when one is met.
SIMULATORS = {
    "mujoco._structs.MjData": "sb3_trpo.simulators.mujoco_state:save_data",
    "mujoco._structs.MjModel": "sb3_trpo.simulators.mujoco_state:save_model",
    "ale_py._ale_py.ALEInterface": "sb3_trpo.simulators.ale_state:save",
}

# Windows, renderers and what they draw with: they show the state and are no part of it. (Of pygame, rectangles and, of others'
# environments, surfaces may well be.)
_RENDERING = (
    *("pygame.Surface", "pygame.surface.", "pygame.display.", "pygame.time.", "pygame.Clock", "pygame.font.", "pygame.Font"),
    *("pygame.freetype.", "pygame.mixer.", "glfw.", "gymnasium.envs.mujoco.mujoco_rendering."),
    *("mujoco.renderer.", "mujoco.viewer.", "mujoco._render."),
)

# Attributes without bearing on what the simulation does next: what an environment is made from, and records of past episodes.
_NO_STATE = {
    "gymnasium.core.Env": ("_ezpickle_args", "_ezpickle_kwargs"),
    "gymnasium.core.Wrapper": ("env", "_saved_kwargs"),
    "stable_baselines3.common.monitor.Monitor": (
        *("results_writer", "t_start"),
        *("episode_returns", "episode_lengths", "episode_times"),
    ),
}
# The same, if all classes in the environment are trusted. Another wrapper might read the queues, and a subclass might edit the
# tables or the specification.
_NO_STATE_IF_TRUSTED = {
    "gymnasium.core.Env": ("metadata", "spec"),
    "gymnasium.core.Wrapper": ("_metadata", "_cached_spec"),
    "gymnasium.envs.mujoco.mujoco_env.MujocoEnv": ("observation_structure",),
    "gymnasium.envs.toy_text.taxi.TaxiEnv": ("P", "initial_state_distrib"),
    "gymnasium.envs.toy_text.cliffwalking.CliffWalkingEnv": ("P", "initial_state_distrib"),
    "gymnasium.envs.toy_text.frozen_lake.FrozenLakeEnv": ("P", "initial_state_distrib"),
    "gymnasium.wrappers.common.RecordEpisodeStatistics": ("time_queue", "return_queue", "length_queue", "episode_start_time"),
}

# Environments and wrappers that only ever rebind their attributes, simulators apart, if all classes are trusted: nothing in
# them needs a copy. (Pusher's reset writes to the initial positions.)
_REBINDING = (
    "gymnasium.envs.mujoco.",
    "gymnasium.wrappers.common.TimeLimit",
    "gymnasium.wrappers.common.OrderEnforcing",
    "gymnasium.wrappers.common.PassiveEnvChecker",
)


def is_trusted(kind: type) -> bool:
    """Whether it is known of a class of environments or wrappers what it does to the layers around it."""
    return name_of(kind).startswith(_TRUSTED) and name_of(kind) not in _RUNNING_ANYTHING


def is_rebinding(kind: type) -> bool:
    """Whether a trusted class never changes what its attributes refer to, simulators apart."""
    return name_of(kind).startswith(_REBINDING) and kind.__name__ != "PusherEnv"


def is_simulator(kind: type) -> bool:
    """Whether a class is that of a simulator with a module here."""
    return name_of(kind) in SIMULATORS


def is_rendering(kind: type) -> bool:
    """Whether a class draws or shows the state."""
    return name_of(kind).startswith(_RENDERING)


def is_surface(value: Any) -> bool:
    """Whether this is an image of pygame's in memory, and not its window."""
    if name_of(type(value)) not in ("pygame.Surface", "pygame.surface.Surface"):
        return False
    return value is not sys.modules["pygame"].display.get_surface()


def is_pinned(value: Any, trusted: bool) -> bool:
    """Whether an attribute belongs to the instance: a restored state leaves the instance its own.

    :param value: of an attribute
    :param trusted: whether only trusted classes are at work, which never change a space or a specification
    """
    kind = type(value)
    if is_rendering(kind):
        return trusted or not is_surface(value)  # a user's game may go on from what it has drawn
    return (trusted and (issubclass(kind, spaces.Space) or kind is EnvSpec)) or is_simulator(kind)


def _without_state(kind: type, trusted: bool) -> frozenset[str]:
    """Names of the attributes of a class of environments or wrappers that are no state.

    :param kind: the class
    :param trusted: whether only trusted classes are at work
    """
    tables = (_NO_STATE, _NO_STATE_IF_TRUSTED) if trusted else (_NO_STATE,)
    return frozenset(name for table in tables for base in kind.__mro__ for name in table.get(name_of(base), ()))


without_state: Callable[[type, bool], frozenset[str]] = cache(_without_state)


ADVICE = (
    "If it never changes, keep it in the class and not in the instance: what all instances share is not copied. Else give it "
    "two methods, clone_state() -> token and restore_state(token), which save and restore it and everything it wraps "
    "(sb3_trpo.simulators.clone_state(self.env) copies what is inside), and check them with sb3_trpo.simulators.check_clone."
)


class CannotCloneError(ValueError):
    """A simulator's state that cannot be shown to be copied whole; says what is in the way and what to write.

    :param where: the layer, or an attribute of it
    :param reason: what is missing
    :param advice: what to do
    """

    def __init__(self, where: str, reason: str, advice: str = ADVICE):
        super().__init__(where, reason, advice)
        self.where, self.reason, self.advice = where, reason, advice

    def __str__(self) -> str:
        return f"The state of {self.where} cannot be copied: {self.reason}. {self.advice}"


def _has_own_methods(kind: type) -> bool:
    """Whether a class of environments copies its state itself, with everything it wraps.

    ALE's environment has methods of these names too, whose token leaves out the random state unless asked.
    """
    own = all(callable(getattr(kind, name, None)) for name in ("clone_state", "restore_state"))
    return own and "ale_py.env.AtariEnv" not in map(name_of, kind.__mro__)


has_own_methods: Callable[[type], bool] = cache(_has_own_methods)


class Stack(NamedTuple):
    """The layers of an environment.

    :param names: of their classes, outermost first, and those that are held as attributes last
    :param layers: those whose attributes are saved
    :param own: one more, innermost, that copies its state itself with everything it wraps
    :param trusted: whether all of them are known not to reach into one another
    """

    names: tuple[str, ...]
    layers: list[Any]
    own: Any | None
    trusted: bool

    @classmethod
    def of(cls, env: gym.Env) -> "Stack":
        """
        :raises TypeError: for anything but a gymnasium environment
        """
        return cls(*unwrapped(env))

    @property
    def everything(self) -> list[Any]:
        """All layers, also those inside the one that copies its state itself."""
        layers, inner = list(self.layers), self.own
        while inner is not None:
            layers.append(inner)
            inner = inner.env if isinstance(inner, gym.Wrapper) else None
        return layers


def unwrapped(env: gym.Env) -> tuple[tuple[str, ...], list[Any], Any | None, bool]:
    """The fields of a :class:`Stack` as a bare tuple, in half the time: it counts when a light environment is saved.

    :raises TypeError: for anything but a gymnasium environment
    """
    layers: list[Any] = []
    inner: Any = env
    while _leads_inwards(type(inner)):
        layers.append(inner)
        inner = inner.env
    layers.append(inner)
    kinds = tuple(map(type, layers))
    known = _KNOWN.get(kinds)
    if known is None:
        if not isinstance(inner, gym.Env):
            raise TypeError(
                f"An object of type {type(env).__name__} is not a gymnasium environment. Give one environment with its "
                "wrappers; for the environments of a VecEnv see sb3_trpo.vec_env.clone_rows."
            )
        known = _KNOWN[kinds] = (tuple(map(name_of, kinds)), all(map(is_trusted, kinds)), has_own_methods(kinds[-1]))
    names, trusted, own = known
    innermost = layers.pop() if own else None
    if not trusted and (held := _held(layers, innermost)):
        layers += held
        names = (*names, *(name_of(type(layer)) for layer in held))
    return names, layers, innermost, trusted


_KNOWN: dict[tuple[type, ...], tuple[tuple[str, ...], bool, bool]] = {}

_leads_inwards: Callable[[type], bool] = cache(lambda kind: issubclass(kind, gym.Wrapper) and not has_own_methods(kind))


def _may_lead_to_simulators(kind: type) -> bool:
    """Whether attributes of a class's instances are looked at: those of environments and of classes written in Python."""
    if issubclass(kind, (type, ModuleType, spaces.Space, EnvSpec, enum.Enum)) or is_rendering(kind) or has_own_methods(kind):
        return False
    return bool(kind.__dictoffset__) and not name_of(kind).startswith("builtins.")


_is_looked_at: Callable[[type], bool] = cache(_may_lead_to_simulators)


def leads_to_simulator(obj: Any, seen: set[int]) -> bool:
    """Whether an object has a simulator among its attributes, or another object that leads to one.

    :param obj: an instance with attributes
    :param seen: ids of what is left out of account; what is looked at is added
    """
    seen.add(id(obj))
    for value in list(vars(obj).values()):
        kind = type(value)
        if id(value) not in seen and (is_simulator(kind) or (_is_looked_at(kind) and leads_to_simulator(value, seen))):
            return True
    return False


def _held(layers: list[Any], own: Any) -> list[Any]:
    """What layers hold as attributes and what leads to a simulator, in the order in which they are met."""
    found, known = list(layers), set(map(id, layers))
    while own is not None:
        known.add(id(own))
        own = own.env if isinstance(own, gym.Wrapper) else None
    for layer in found:  # grows on the way
        known.update(id(value) for value in vars(layer).values() if is_simulator(type(value)))
        for value in vars(layer).values():
            if id(value) not in known and _is_looked_at(type(value)) and leads_to_simulator(value, set(known)):
                known.add(id(value))
                found.append(value)
    return found[len(layers) :]
