"""The critic's fit: minibatch regression on the returns, all of it or nothing."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_trpo.critic.minibatches import fitted_by_each, held_by_all, share_of
from sb3_trpo.critic.mlp_regression import MlpRegression
from sb3_trpo.critic.regression import CriticFit, Regression, TorchRegression
from sb3_trpo.distributed import ALONE, Ranks
from sb3_trpo.policies import Actor
from sb3_trpo.rollouts import Samples, critic_layers, is_stock_policy, select

FEATURE_ROWS = 256  # rows a batch when features are computed ahead


def fit_critic(actor: Actor, samples: Samples, n_updates: int, batch_size: int, ranks: Ranks = ALONE) -> CriticFit:
    """Minimise mean[(V(s) − R)²] with the policy's own optimizer, ``n_updates`` passes in minibatches.

    Gradients are taken for the critic's own parameters only; the optimizer sees none for the others and leaves them
    alone, so the policy is the same function before and after. A fit that ends in NaN or infinity is undone. Several
    ranks take the steps that one process with all their samples would take.

    :param actor: the policy, with what belongs to its actor
    :param samples: a rollout
    :param n_updates: passes over the samples, at least 0
    :param batch_size: rows a minibatch, over all ranks
    :param ranks: processes that hold further samples, as many each
    """
    policy = actor.policy
    parameters = actor.critic_parameters(samples.observations) if n_updates else []
    if not parameters:
        return CriticFit(float("nan"), True)

    policy.set_training_mode(True)
    actor.keep_in_eval_mode()
    regression = _regression(policy, parameters, samples, batch_size, ranks)
    with ranks.same_random_numbers() if regression.ranks is ALONE else nullcontext():
        for _ in range(n_updates):
            order = th.randperm(ranks.size * len(samples), generator=ranks.generator)
            order, minibatches = share_of(order, batch_size, len(regression.targets), regression.ranks)
            regression.shuffle(order)
            for minibatch in minibatches:
                regression.step(minibatch)
    policy.set_training_mode(False)
    return regression.finish()


def _regression(
    policy: ActorCriticPolicy, parameters: list[nn.Parameter], samples: Samples, batch_size: int, ranks: Ranks
) -> Regression:
    """The fastest regression that does what ``policy.predict_values`` and ``policy.optimizer`` would do.

    Features that the actor shares are the actor's and stay fixed during the fit: computed once, and V starts there.
    """
    values_of: Callable[[PyTorchObs], th.Tensor] = policy.predict_values
    inputs, targets, layers = samples.observations, samples.returns, []
    if is_stock_policy(policy) and policy.vf_features_extractor is policy.pi_features_extractor:
        features = _features(policy, samples)
        if features is not None:
            inputs, values_of, layers = features, partial(_value_head, policy), critic_layers(policy)

    size, has_buffers = sum(parameter.numel() for parameter in parameters), any(True for _ in policy.buffers())
    if ranks.size > 1 and (has_buffers or held_by_all(ranks, inputs)):
        inputs, targets = _concatenated(inputs, ranks), ranks.concatenate(targets)
        if has_buffers or fitted_by_each(batch_size, size, targets.device):  # batch norm must see whole minibatches
            ranks = ALONE
    if layers and MlpRegression.supports(layers, parameters, policy.optimizer):
        return MlpRegression(layers, inputs, targets, policy.optimizer, ranks)  # type: ignore[arg-type]
    return TorchRegression(values_of, inputs, targets, parameters, policy.optimizer, ranks)


@th.no_grad()
def _features(policy: ActorCriticPolicy, samples: Samples) -> th.Tensor | None:
    """The critic's features of all samples ``[B, …]``; None where they are not one tensor."""
    # Written into place: outputs kept one by one lie between freed temporaries and keep the allocator from reusing them.
    features = None
    for start in range(0, len(samples), FEATURE_ROWS):
        rows = slice(start, start + FEATURE_ROWS)
        part = policy.extract_features(select(samples.observations, rows), policy.vf_features_extractor)
        if not isinstance(part, th.Tensor):
            return None
        features = part.new_empty(len(samples), *part.shape[1:]) if features is None else features
        features[rows] = part
    return features


def _value_head(policy: ActorCriticPolicy, features: th.Tensor) -> th.Tensor:
    return policy.value_net(policy.mlp_extractor.forward_critic(features))


def _concatenated(inputs: PyTorchObs, ranks: Ranks) -> PyTorchObs:
    """The inputs of all ranks' samples, in order."""
    if isinstance(inputs, dict):
        return {key: ranks.concatenate(part[:]) for key, part in inputs.items()}
    return ranks.concatenate(inputs[:])
