"""How experience is collected: a path through the training environments (paper, section 5.1), and what a sampler makes of
it.

The path: ``single_path`` runs the policy, ``evaluators`` see to actions, values and log-probabilities, ``masks`` asks which
actions are possible, ``advantages`` turns rewards into advantages, ``defects`` names what is not finite. Where worker
processes have the environments, ``segmented_path`` puts it together from the ``segments`` that they run, and ``infos`` packs
what they send. Its storage: ``buffers``, ``frame_stacks`` (every frame kept once), ``samples`` (a rollout as tensors) and
``batch`` (what an update takes of it).

``sampler`` has the protocol of a way to sample, ``vine`` the one that branches (section 5.2), and ``algorithm`` the part of
an SB3 algorithm that collects.
"""

from sb3_trpo.sampling.advantages import estimate_advantages, generalized_advantages, monte_carlo_advantages
from sb3_trpo.sampling.batch import Batch, ImportanceSampled, Surrogate
from sb3_trpo.sampling.defects import Defect, check_running_statistics, find_defect, is_parameter_check, largest_reward
from sb3_trpo.sampling.evaluators import make_evaluator
from sb3_trpo.sampling.frame_stacks import FrameStackBuffer, stacks_grey_frames
from sb3_trpo.sampling.sampler import (
    SAMPLERS,
    Experience,
    PathAlone,
    Sampler,
    SamplerFactory,
    Sampling,
    SinglePath,
    register_sampler,
)
from sb3_trpo.sampling.samples import Samples
from sb3_trpo.sampling.single_path import Evaluator, Transition, single_path
from sb3_trpo.sampling.vine import FirstActions, Trunk, Vine, VineBatch, VineSettings, make_vine

__all__ = [
    "SAMPLERS",
    "Batch",
    "Defect",
    "Evaluator",
    "Experience",
    "FirstActions",
    "FrameStackBuffer",
    "ImportanceSampled",
    "PathAlone",
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
    "estimate_advantages",
    "find_defect",
    "generalized_advantages",
    "is_parameter_check",
    "largest_reward",
    "make_evaluator",
    "make_vine",
    "monte_carlo_advantages",
    "register_sampler",
    "single_path",
    "stacks_grey_frames",
]
