"""Environments that a program has registered with gymnasium, so that worker processes can make them by name, too."""

from contextlib import suppress

import gymnasium as gym

from sb3_trpo.processes.messages import dump, load


def registered() -> list[bytes]:
    """What is registered here beside gymnasium's own environments, each pickled; what cannot be pickled is left out."""
    found = []
    for spec in gym.registry.values():
        if not str(spec.entry_point).startswith("gymnasium."):
            with suppress(Exception):  # a lock or a file in its arguments: it can still be made here
                found.append(dump(spec))
    return found


def register(specs: list[bytes]) -> None:
    """Register here what is not registered yet.

    :param specs: as :func:`registered` gives them
    """
    for data in specs:
        spec = load(data)
        gym.registry.setdefault(spec.id, spec)
