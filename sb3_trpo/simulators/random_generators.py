"""Random generators: saved, brought back, given a new stream; and in a pickle, in parts.

What draws from one bit generator, or spawns from one seed sequence, goes on doing so.
"""

import random
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


BIT_GENERATORS: dict[str, Any] = {
    name: getattr(np.random, name) for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
}


# What ``getrefcount(owner[name])`` says of an object to which nothing but ``owner[name]`` refers, so that it can be copied
# on its own; and the same of the parts of a generator. Measured here, because it depends on the Python version.
UNSHARED = (lambda owner, name: getrefcount(owner[name]))({"object": object()}, "object")


def _references(generator: np.random.Generator) -> tuple[int, int]:
    """How many references there are to a generator's bit generator and to its seed sequence."""
    return getrefcount(generator.bit_generator), getrefcount(generator.bit_generator.seed_seq)


_UNSHARED_PARTS = _references(np.random.Generator(np.random.PCG64(0)))


def shares_parts(generator: np.random.Generator) -> bool:
    """Whether something else draws from a generator's bit generator or spawns from its seed sequence."""
    return _references(generator) != _UNSHARED_PARTS


# A seed sequence: entropy, spawn key, pool size, and how many it has spawned.
Seeding = tuple[Any, tuple[int, ...], int, int]


def seeding_of(sequence: Any) -> Seeding | None:
    """What a seed sequence consists of; None for what only looks like one, and cannot spawn."""
    if type(sequence) is not np.random.SeedSequence:
        return None
    entropy = sequence.entropy
    plain = entropy if entropy is None or isinstance(entropy, int) else tuple(int(word) for word in np.ravel(entropy))
    return plain, tuple(map(int, sequence.spawn_key)), sequence.pool_size, sequence.n_children_spawned


def sequence_from(seeding: Seeding) -> np.random.SeedSequence:
    """Inverse of :func:`seeding_of`."""
    entropy, spawn_key, pool_size, spawned = seeding
    return np.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=pool_size, n_children_spawned=spawned)


class GeneratorState(NamedTuple):
    """State of a NumPy generator.

    :param state: as the bit generator gives it, its class's name included
    :param seeding: of the seed sequence that it spawns further generators from; None where that is not saved
    """

    state: dict[str, Any]
    seeding: Seeding | None = None

    @classmethod
    def of(cls, generator: np.random.Generator, spawns: bool = False) -> "GeneratorState":
        """The state of a generator of one of NumPy's own kinds.

        :param spawns: whether generators may be spawned from it
        :raises TypeError: for another kind
        """
        bit_generator = generator.bit_generator
        if type(bit_generator) not in BIT_GENERATORS.values():
            raise TypeError(f"its bit generator {type(bit_generator).__name__} is not one of NumPy's")
        seeding = seeding_of(bit_generator.seed_seq) if spawns else None
        return cls(bit_generator.state, seeding)  # type: ignore[arg-type]

    def reseeded(self, seeds: Seeds) -> "GeneratorState":
        """The state of a generator of the same kind with a new seed."""
        sequence = next(seeds)
        state = BIT_GENERATORS[self.state["bit_generator"]](sequence).state
        return GeneratorState(state, self.seeding and seeding_of(sequence))

    def generator(self) -> np.random.Generator:
        """A generator in this state."""
        sequence = None if self.seeding is None else sequence_from(self.seeding)
        bit_generator = BIT_GENERATORS[self.state["bit_generator"]](sequence)
        bit_generator.state = self.state
        return np.random.Generator(bit_generator)

    def load(self, owner: dict[str, Any], name: str) -> None:
        """Put ``owner[name]`` in this state; a new generator where there is none, another kind, or one that others use."""
        if name in owner and getrefcount(owner[name]) == UNSHARED and type(owner[name]) is np.random.Generator:
            bit_generator = owner[name].bit_generator
            same_kind = type(bit_generator) is BIT_GENERATORS[self.state["bit_generator"]]
            if same_kind and (self.seeding is None or self._spawns_like(owner[name])):
                bit_generator.state = self.state
                return
        owner[name] = self.generator()

    def _spawns_like(self, generator: np.random.Generator) -> bool:
        """Whether the seed sequence is the same, too, and nothing else draws or spawns from it."""
        return not shares_parts(generator) and seeding_of(generator.bit_generator.seed_seq) == self.seeding


class SpaceState(NamedTuple):
    """Random states of a space and of the spaces it is made of; None where one has not drawn yet.

    :param states: in the order of :func:`_parts`
    """

    states: tuple[GeneratorState | None, ...]

    @classmethod
    def of(cls, space: spaces.Space) -> "SpaceState | None":
        """None if nothing was ever drawn: such a space seeds itself from the operating system, and no copy can repeat that.

        :raises TypeError: if a generator is also used by something else
        """
        if space._np_random is None and type(space) in _SIMPLE:
            return None
        parts = list(_parts(space))
        if any(part._np_random is not None and getrefcount(part._np_random) != UNSHARED for part in parts):
            raise TypeError("the space's random generator is shared with something else")
        generators = [part._np_random for part in parts]
        return cls(tuple(None if generator is None else GeneratorState.of(generator) for generator in generators))

    def reseeded(self, seeds: Seeds) -> "SpaceState":
        return SpaceState(tuple(state and state.reseeded(seeds) for state in self.states))

    def load(self, owner: dict[str, Any], name: str) -> None:
        for part, state in zip(_parts(owner[name]), self.states, strict=True):
            if state is not None:
                state.load(vars(part), "_np_random")


_SIMPLE = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete, spaces.Text)


def _parts(space: spaces.Space) -> Iterator[spaces.Space]:
    """A space and those it is made of, which it has as attributes, or in a tuple or dict."""
    yield space
    if type(space) in _SIMPLE:
        return
    for value in vars(space).values():
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else (value,)
        for part in inner:
            if isinstance(part, spaces.Space):
                yield from _parts(part)


KINDS = (np.random.Generator, np.random.RandomState, np.random.SeedSequence, random.Random, *BIT_GENERATORS.values())
_GLOBAL = (random.random.__self__, np.random.normal.__self__)  # type: ignore[attr-defined]


def taken_apart(obj: Any) -> tuple[Any, ...]:
    """Name and arguments of the method of :class:`RandomObjects` that builds a random generator again.

    :param obj: an instance of one of ``KINDS``
    :raises TypeError: for the generators that the whole process shares
    """
    if any(obj is shared for shared in _GLOBAL):
        raise TypeError("it is the random generator of the whole process, which is not part of any environment's state")
    if isinstance(obj, random.Random):
        if vars(obj).keys() - {"gauss_next"}:
            raise TypeError("it is a random generator with attributes, which a copy would forget")
        return "twister", obj.getstate()
    if isinstance(obj, np.random.SeedSequence):
        return "sequence", seeding_of(obj)
    if isinstance(obj, np.random.BitGenerator):
        sequence = obj.seed_seq if type(obj.seed_seq) is np.random.SeedSequence else None
        return "bits", type(obj).__name__, obj.state, sequence
    bits = obj._bit_generator
    if isinstance(obj, np.random.Generator):
        return "generator", bits
    state = obj.get_state(legacy=False)
    return "old_generator", bits, state["has_gauss"], state["gauss"]  # type: ignore[call-overload]


class RandomObjects:
    """Builds random generators again.

    :param seeds: streams for them, None to leave them as they were
    """

    def __init__(self, seeds: Seeds | None):
        self._seeds = seeds

    def sequence(self, seeding: Seeding) -> np.random.SeedSequence:
        return sequence_from(seeding) if self._seeds is None else next(self._seeds)

    def bits(self, kind: str, state: dict[str, Any], sequence: np.random.SeedSequence | None) -> np.random.BitGenerator:
        if self._seeds is not None:
            return BIT_GENERATORS[kind](next(self._seeds) if sequence is None else sequence)
        bits = BIT_GENERATORS[kind](sequence)
        bits.state = state
        return bits

    def generator(self, bits: np.random.BitGenerator) -> np.random.Generator:
        return np.random.Generator(bits)

    def old_generator(self, bits: np.random.BitGenerator, has_gauss: int, gauss: float) -> np.random.RandomState:
        new = np.random.RandomState(bits)
        if self._seeds is None:
            new.set_state({**bits.state, "has_gauss": has_gauss, "gauss": gauss})  # type: ignore[typeddict-item]
        return new

    def twister(self, state: tuple[Any, ...]) -> random.Random:
        if self._seeds is not None:
            return random.Random(int.from_bytes(next(self._seeds).generate_state(8).tobytes(), "little"))
        new = random.Random()
        new.setstate(state)
        return new
