"""Which regression serves a critic: the fastest that does what its policy and its optimizer would do."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_trpo.critic.minibatches import fitted_by_each, held_by_all
from sb3_trpo.critic.mlp_regression import MlpRegression
from sb3_trpo.critic.regression import Regression, TorchRegression
from sb3_trpo.critic.sequence_regression import SequenceRegression
from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import (
    PROBE,
    PolicyInput,
    Sequences,
    States,
    chunks_of,
    count,
    critic_chain,
    forward,
    has_stock_head,
    select,
    unmasked,
    values_of,
)
from sb3_trpo.policy.overlaps import overlaps
from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.sampling import Samples

FEATURE_ROWS = 256  # rows a batch when features are computed ahead
LARGEST_FEATURES = 2**26  # bytes of features that are kept


def choose_regression(
    policy: ActorCriticPolicy, parameters: list[nn.Parameter], samples: Samples, batch_size: int, ranks: Ranks
) -> Regression:
    """The fastest regression that does what ``policy.predict_values`` and ``policy.optimizer`` would do.

    Features that are the actor's alone stay fixed during the fit: they are computed once, and V starts there.
    """
    evaluate: Callable[[Any], th.Tensor] = partial(values_of, policy)
    states = unmasked(samples.observations)
    inputs, targets, layers = states, samples.returns, []
    if isinstance(states, Sequences):
        return SequenceRegression(evaluate, states, targets, parameters, policy.optimizer, ranks)
    if has_stock_head(policy) and _features_are_fixed(policy, parameters):
        features = _features(policy, states)
        if features is not None:
            inputs, evaluate, layers = features, partial(_value_head, policy), critic_chain(policy)
            layers = layers if layers and _same_values(policy, layers, states, features) else []

    size, has_buffers = sum(parameter.numel() for parameter in parameters), any(True for _ in policy.buffers())
    if ranks.size > 1 and not isinstance(inputs, States) and (has_buffers or held_by_all(ranks, inputs)):
        inputs, targets = _concatenated(inputs, ranks), ranks.concatenate(targets)
        if has_buffers or fitted_by_each(batch_size, size, targets.device):  # batch norm must see whole minibatches
            ranks = ALONE
    if MlpRegression.supports(layers, parameters, policy.optimizer):
        return MlpRegression(layers, inputs, targets, policy.optimizer, ranks)  # type: ignore[arg-type]
    return TorchRegression(evaluate, inputs, targets, parameters, policy.optimizer, ranks)


def _features_are_fixed(policy: ActorCriticPolicy, parameters: list[nn.Parameter]) -> bool:
    """Whether the critic has the actor's features, and the fit moves nothing in what extracts them."""
    extractor = policy.vf_features_extractor
    return extractor is policy.pi_features_extractor and not any(overlaps(part, parameters) for part in extractor.parameters())


@th.no_grad()
def _same_values(policy: ActorCriticPolicy, layers: list[nn.Module], states: PolicyInput, features: th.Tensor) -> bool:
    """Whether the layers give the policy's own values of the first states."""
    weights = [weight for layer in layers for weight in layer.parameters()]
    written_out = forward(layers, weights, features[PROBE])[-1]
    values = values_of(policy, select(states, PROBE))
    return th.allclose(written_out, values, rtol=1e-3, atol=1e-4, equal_nan=True)


@th.no_grad()
def _features(policy: ActorCriticPolicy, states: PolicyInput) -> th.Tensor | None:
    """The critic's features of all states ``[B, …]``; None where they are not one tensor, or large (one-hot states)."""
    # Written into place: outputs kept one by one lie between freed temporaries and keep the allocator from reusing them.
    features = None
    for rows in chunks_of(states, FEATURE_ROWS):
        part = policy.extract_features(select(states, rows), policy.vf_features_extractor)
        if not isinstance(part, th.Tensor) or part[0].nbytes * count(states) > LARGEST_FEATURES:
            return None
        features = part.new_empty(count(states), *part.shape[1:]) if features is None else features
        features[rows] = part
    return features


def _value_head(policy: ActorCriticPolicy, features: th.Tensor) -> th.Tensor:
    return policy.value_net(policy.mlp_extractor.forward_critic(features))


def _concatenated(inputs: PyTorchObs, ranks: Ranks) -> PyTorchObs:
    """The inputs of all ranks' samples, in order."""
    return map_parts(lambda part: ranks.concatenate(part[:]), inputs)
