"""Random generators in a pickle, in parts: what draws from one bit generator, or spawns from one seed sequence, goes on so."""

import random
from typing import Any

import numpy as np

from sb3_trpo.simulators.random_states import BIT_GENERATORS, Seeding, Seeds, seeding_of, sequence_from

KINDS = (np.random.Generator, np.random.RandomState, np.random.SeedSequence, random.Random, *BIT_GENERATORS.values())
_GLOBAL = (random.random.__self__, np.random.normal.__self__)  # type: ignore[attr-defined]


def taken_apart(obj: Any) -> tuple[Any, ...]:
    """Name and arguments of the method of :class:`RandomObjects` that builds a random generator again.

    :param obj: an instance of one of ``KINDS``
    :raises TypeError: for the generators that the whole process shares
    """
    if any(obj is shared for shared in _GLOBAL):
        raise TypeError("it is the random generator of the whole process, which is nobody's state")
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
