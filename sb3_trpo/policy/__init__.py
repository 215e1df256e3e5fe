"""All that is known of an SB3 policy.

``distributions`` has an adapter for each kind of action distribution (family, parameters, noise), ``recognition`` tells
SB3's own policies from a user's and finds chains of known layers, ``chain`` runs and differentiates these, ``acting`` makes
actions of noise (``acting_in_workers``: in other processes, which get it by ``copies``), ``actor`` is what an update asks
for (θ, and the linear map from it to distributions), and ``parameter_copy`` tells later whether a policy has changed.
``hooks`` finds hooks and replaced methods, ``overlaps`` shared memory, ``lazy`` layers that have no sizes yet, ``snapshot``
puts back what an update has moved, and ``tanh`` is about speed and the last bits.

``observations`` is what a policy is given; where it is more, ``masks`` says which actions are possible, and ``sequences``
runs what came before through a memory, which ``lstm`` differentiates (``padding``: sequences of several lengths).
"""

from sb3_trpo.policy.acting import NumpyActor, actions_from_noise, draw_noise, make_actor, numpy_actor
from sb3_trpo.policy.actor import PROBE, Actor
from sb3_trpo.policy.chain import backward, forward, is_mlp
from sb3_trpo.policy.distributions import ActionDistribution, action_distribution, draws, register_distribution
from sb3_trpo.policy.lazy import find_sizes
from sb3_trpo.policy.masks import MaskedStates, masked_distribution
from sb3_trpo.policy.observations import (
    PolicyInput,
    States,
    chunks_of,
    count,
    distribution_of,
    draw,
    observations_of,
    restricted,
    select,
    unmasked,
    values_of,
)
from sb3_trpo.policy.parameter_copy import ParameterCopy
from sb3_trpo.policy.recognition import (
    critic_chain,
    explores_by_state,
    has_stock_head,
    is_stock_policy,
    overrides,
    register_extractor,
    register_policy,
)
from sb3_trpo.policy.sequences import LstmState, Memory, Sequences

__all__ = [
    "PROBE",
    "ActionDistribution",
    "Actor",
    "LstmState",
    "MaskedStates",
    "Memory",
    "NumpyActor",
    "ParameterCopy",
    "PolicyInput",
    "Sequences",
    "States",
    "action_distribution",
    "actions_from_noise",
    "backward",
    "chunks_of",
    "count",
    "critic_chain",
    "distribution_of",
    "draw",
    "draw_noise",
    "draws",
    "explores_by_state",
    "find_sizes",
    "forward",
    "has_stock_head",
    "is_mlp",
    "is_stock_policy",
    "make_actor",
    "masked_distribution",
    "numpy_actor",
    "observations_of",
    "overrides",
    "register_distribution",
    "register_extractor",
    "register_policy",
    "restricted",
    "select",
    "unmasked",
    "values_of",
]
