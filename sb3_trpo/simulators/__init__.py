"""Exact save and restore of an environment's state, with everything it is wrapped in.

``state`` saves and restores. It takes an environment for its ``layers`` and every layer for its ``attributes`` (``saved``:
the simple ones): simulators (``mujoco_state``, ``ale_state``), ``random_generators``, ``pygame_objects``, and Python
``objects`` of any shape (``reductions`` and ``instances`` take them apart, ``nameless`` are functions and classes that no
name leads to). ``copies`` makes second instances, and ``check`` tries whether a copy is exact.
"""

from sb3_trpo.simulators.check import CloneReport, check_clone
from sb3_trpo.simulators.copies import CloneableEnv, Pickler, copy_env
from sb3_trpo.simulators.layers import CannotCloneError
from sb3_trpo.simulators.state import (
    Models,
    Replayed,
    SimulatorState,
    clone_models,
    clone_state,
    forgets_when_saved,
    replay,
    reseed,
    restore_models,
    restore_state,
)

__all__ = [
    "CannotCloneError",
    "CloneReport",
    "CloneableEnv",
    "Models",
    "Pickler",
    "Replayed",
    "SimulatorState",
    "check_clone",
    "clone_models",
    "clone_state",
    "copy_env",
    "forgets_when_saved",
    "replay",
    "reseed",
    "restore_models",
    "restore_state",
]
