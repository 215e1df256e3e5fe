"""Collecting experience with SB3's vectorised environments, policies and buffers. Knows no TRPO.

``single_path`` runs the policy in the training environments, ``evaluators`` see to values and log-probabilities (with
``numpy_actor``, a fast actor for MLP policies), ``shallow_copies`` spares DummyVecEnv its deep ones, ``advantages`` turns
rewards into advantages, ``finite`` says where a rollout has a value that is not a number, ``samples`` gives a finished
rollout as tensors, ``frame_stacks`` keeps stacked frames once each, ``stock`` tells SB3's own methods from a user's, and
``row_states`` saves and restores single environments with their rows in VecEnv wrappers, whose
``running_statistics`` belong to all of them.

``vine`` branches from some of the states that the path has passed.
"""

from sb3_trpo.rollouts.advantages import estimate_advantages, generalized_advantages, monte_carlo_advantages
from sb3_trpo.rollouts.batch import Batch, ImportanceSampled, Surrogate
from sb3_trpo.rollouts.evaluators import make_evaluator
from sb3_trpo.rollouts.finite import Defect, check_running_statistics, find_defect, is_parameter_check, largest_reward
from sb3_trpo.rollouts.frame_stacks import FrameStackBuffer, stacks_grey_frames
from sb3_trpo.rollouts.row_states import RowState, clone_rows, restore_rows
from sb3_trpo.rollouts.running_statistics import running_statistics
from sb3_trpo.rollouts.sampler import (
    SAMPLERS,
    Experience,
    PathAlone,
    Sampler,
    SamplerFactory,
    Sampling,
    SinglePath,
    register_sampler,
)
from sb3_trpo.rollouts.samples import Samples
from sb3_trpo.rollouts.shallow_copies import remove_shallow_copies, shallow_copies
from sb3_trpo.rollouts.single_path import Evaluator, Transition, single_path
from sb3_trpo.rollouts.vine import Trunk, Vine, VineBatch, VineSettings, make_vine

__all__ = [
    "SAMPLERS",
    "Batch",
    "Defect",
    "Evaluator",
    "Experience",
    "FrameStackBuffer",
    "ImportanceSampled",
    "PathAlone",
    "RowState",
    "Sampler",
    "SamplerFactory",
    "Samples",
    "Sampling",
    "SinglePath",
    "Surrogate",
    "Transition",
    "Trunk",
    "Vine",
    "VineBatch",
    "VineSettings",
    "check_running_statistics",
    "clone_rows",
    "estimate_advantages",
    "find_defect",
    "generalized_advantages",
    "is_parameter_check",
    "largest_reward",
    "make_evaluator",
    "make_vine",
    "monte_carlo_advantages",
    "register_sampler",
    "remove_shallow_copies",
    "restore_rows",
    "running_statistics",
    "shallow_copies",
    "single_path",
    "stacks_grey_frames",
]
