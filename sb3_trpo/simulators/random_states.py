"""Random generators: saved, brought back, and given a new stream."""

from collections.abc import Iterator
from itertools import count
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

Seeds = Iterator[np.random.SeedSequence]


def streams(seed: int, part: int) -> Seeds:
    """One independent stream for each random generator in a part of an environment that is reseeded with ``seed``."""
    return (np.random.SeedSequence([seed, part, index]) for index in count())


_BIT_GENERATORS: dict[str, Any] = {
    name: getattr(np.random, name) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
}


# What ``getrefcount(owner[name])`` says of an object to which nothing but ``owner[name]`` refers, so that it can be copied
# on its own. Found out here, for it depends on the Python version.
UNSHARED = (lambda owner, name: getrefcount(owner[name]))({"object": object()}, "object")


class GeneratorState(NamedTuple):
    """State of a NumPy generator.

    :param state: as the bit generator gives it, its class's name included
    """

    state: dict[str, Any]

    @classmethod
    def of(cls, generator: np.random.Generator) -> "GeneratorState":
        """The state of a generator of one of NumPy's own kinds.

        :raises TypeError: for another kind
        """
        bit_generator = generator.bit_generator
        if type(bit_generator) not in _BIT_GENERATORS.values():
            raise TypeError(f"its bit generator {type(bit_generator).__name__} is not one of NumPy's")
        return cls(bit_generator.state)  # type: ignore[arg-type]

    def reseeded(self, seeds: Seeds) -> "GeneratorState":
        """The state of a generator of the same kind with a new seed."""
        return GeneratorState(_BIT_GENERATORS[self.state["bit_generator"]](next(seeds)).state)

    def generator(self) -> np.random.Generator:
        """A generator in this state."""
        bit_generator = _BIT_GENERATORS[self.state["bit_generator"]]()
        bit_generator.state = self.state
        return np.random.Generator(bit_generator)

    def load(self, owner: dict[str, Any], name: str) -> None:
        """Put ``owner[name]`` in this state; a new generator where there is none, another kind, or one that others use."""
        if name in owner and getrefcount(owner[name]) == UNSHARED and type(owner[name]) is np.random.Generator:
            bit_generator = owner[name].bit_generator
            if type(bit_generator) is _BIT_GENERATORS[self.state["bit_generator"]]:
                bit_generator.state = self.state
                return
        owner[name] = self.generator()


class SpaceState(NamedTuple):
    """Random states of a space and of the spaces it is made of; None where one has not drawn yet.

    :param states: in the order of :func:`_parts`
    """

    states: tuple[GeneratorState | None, ...]

    @classmethod
    def of(cls, space: spaces.Space) -> "SpaceState | None":
        """None if nothing was ever drawn: such a space seeds itself from the operating system, and no copy can repeat that."""
        if space._np_random is None and not hasattr(space, "spaces"):
            return None
        generators = [part._np_random for part in _parts(space)]
        return cls(tuple(None if generator is None else GeneratorState.of(generator) for generator in generators))

    def reseeded(self, seeds: Seeds) -> "SpaceState":
        return SpaceState(tuple(state and state.reseeded(seeds) for state in self.states))

    def load(self, owner: dict[str, Any], name: str) -> None:
        for part, state in zip(_parts(owner[name]), self.states, strict=True):
            if state is not None:
                state.load(vars(part), "_np_random")


def _parts(space: spaces.Space) -> Iterator[spaces.Space]:
    yield space
    parts = getattr(space, "spaces", ())
    for part in parts.values() if isinstance(parts, dict) else parts:
        yield from _parts(part)
