"""Whether the policy of a rollout is the one that its update finds at θ₀, and why not."""

import math

import torch as th

from sb3_trpo.policy import Actor, ParameterCopy
from sb3_trpo.update.objective import PolicyObjective

LARGEST_ERROR = 0.01  # of a ratio, which is 1 at θ₀

CHANGED_SINCE = (
    "The policy's parameters were changed between the beginning of a rollout and its update, by a callback (on_step, "
    "on_rollout_end) or because train() was called twice: advantages are those of the policy before the change, and the KL "
    "bound is around the policy after it. Change parameters in a callback's on_rollout_start, and collect a rollout before "
    "every train()."
)
ROUNDING = (
    "The policy's distributions are so narrow that single precision does not resolve them: rounding alone changes its "
    "log-probabilities by more than 1 %. Let it explore more: a larger log_std_init, or smaller logits."
)
DISAGREEMENT = (
    "The policy's log-probabilities differ from those in the rollout by more than 1 % before any step: what acts (forward) "
    "and what is optimised (get_distribution) are not the same distribution, or the rollout buffer was changed. A policy that "
    "overrides forward or extract_features must override get_distribution too."
)


def find_disagreement(actor: Actor, objective: PolicyObjective, acted_with: ParameterCopy | None) -> str | None:
    """What is wrong with the ratios π_θ₀(a|s) / π(a|s) of the rollout's samples, which must all be 1; None if nothing is.

    :param actor: the policy at θ₀
    :param objective: of the rollout, at θ₀
    :param acted_with: the policy's parameters at the beginning of the rollout; None if they are not known
    """
    if not float((objective.start.ratio - 1.0).abs().max()) > LARGEST_ERROR:
        return None
    buffers = [buffer for module in actor.modules for buffer in module.buffers(recurse=False)]
    if acted_with is not None and acted_with.differs([*actor.parameters, *buffers]):
        return CHANGED_SINCE
    return ROUNDING if rounding_error(actor, objective.outputs) > LARGEST_ERROR else DISAGREEMENT


def rounding_error(actor: Actor, outputs: th.Tensor) -> float:
    """How much rounding changes log-probabilities: the largest root mean square over actions of any state.

    It is √(2 KL) between a distribution and the one whose parameters are off by one unit in the last place of themselves, or
    of 1 where they are smaller because the numbers that a network adds up to them are not.

    :param actor: the policy
    :param outputs: its distributions' parameters φ ``[B, P]``
    """
    exact = outputs.double()
    unit = th.finfo(outputs.dtype).eps * exact.abs().clamp(min=1.0)
    directions = th.linspace(-1.0, 1.0, outputs.shape[1]).to(exact)  # logits that are all off alike are not off
    return math.sqrt(2.0 * float(actor.family.kl_divergence(exact, exact + unit * directions).max()))
