"""An environment as its layers: the wrappers from the outermost inwards, then the environment itself."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import gymnasium as gym

from sb3_trpo.simulators.known_classes import is_trusted, name_of

ADVICE = (
    "Give it two methods, clone_state() -> token and restore_state(token), which answer for it and for everything it wraps "
    "(sb3_trpo.simulators.clone_state(self.env) copies what is inside), and check them with sb3_trpo.simulators.check_clone."
)


class CannotCloneError(ValueError):
    """A simulator's state that cannot be shown to be copied whole; says what is in the way and what to write.

    :param where: the layer, or an attribute of it
    :param reason: what is missing
    """

    def __init__(self, where: str, reason: str):
        super().__init__(where, reason)
        self.where, self.reason = where, reason

    def __str__(self) -> str:
        return f"The state of {self.where} cannot be copied: {self.reason}. {ADVICE}"


def _has_own_methods(kind: type) -> bool:
    """Whether a class of environments copies its state itself, with everything it wraps.

    ALE's environment has methods of these names too, whose token leaves out the random state unless asked.
    """
    own = all(callable(getattr(kind, name, None)) for name in ("clone_state", "restore_state"))
    return own and "ale_py.env.AtariEnv" not in map(name_of, kind.__mro__)


has_own_methods: Callable[[type], bool] = cache(_has_own_methods)


class Stack(NamedTuple):
    """The layers of an environment.

    :param names: of their classes, outermost first
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
    """What a :class:`Stack` says, as a bare tuple: half the time, which is a part of saving a light environment.

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
                f"{env!r} is not a gymnasium environment. Give one environment with its wrappers; for the environments "
                "of a VecEnv see sb3_trpo.sampling.clone_rows."
            )
        known = _KNOWN[kinds] = (tuple(map(name_of, kinds)), all(map(is_trusted, kinds)), has_own_methods(kinds[-1]))
    names, trusted, own = known
    return names, layers, layers.pop() if own else None, trusted


_KNOWN: dict[tuple[type, ...], tuple[tuple[str, ...], bool, bool]] = {}

_leads_inwards: Callable[[type], bool] = cache(lambda kind: issubclass(kind, gym.Wrapper) and not has_own_methods(kind))
