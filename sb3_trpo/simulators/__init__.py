"""Exact save and restore of an environment's state, with everything it is wrapped in.

``state`` saves and restores; it takes an environment for its layers (``stack``) and every layer for its attributes
(``attributes``, ``saved``): simulators (``mujoco_state``, ``ale_state``), random generators (``random_states``), Python
objects (``objects``, ``instances``, ``closures``, ``own_classes``). ``copies`` makes second instances, ``models`` gives them
what states leave to an instance, ``cloneable`` offers the methods to other processes, ``check`` tries whether a copy is
exact, and ``replay`` whether other processes go the same way.
"""

from sb3_trpo.simulators.check import CloneReport, check_clone
from sb3_trpo.simulators.cloneable import CloneableEnv
from sb3_trpo.simulators.copies import copy_env
from sb3_trpo.simulators.models import Models, clone_models, restore_models
from sb3_trpo.simulators.replay import Replayed, replay
from sb3_trpo.simulators.stack import CannotCloneError
from sb3_trpo.simulators.state import SimulatorState, clone_state, reseed, restore_state

__all__ = [
    "CannotCloneError",
    "CloneReport",
    "CloneableEnv",
    "Models",
    "Replayed",
    "SimulatorState",
    "check_clone",
    "clone_models",
    "clone_state",
    "copy_env",
    "replay",
    "reseed",
    "restore_models",
    "restore_state",
]
