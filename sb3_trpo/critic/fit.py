"""The critic's fit: minibatch regression on the returns, all of it or nothing."""

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import MlpExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_trpo.critic.mlp_regression import MlpRegression
from sb3_trpo.critic.regression import CriticFit, Regression, TorchRegression
from sb3_trpo.policies import Actor
from sb3_trpo.rollouts import Samples, is_stock_policy, select

FEATURE_ROWS = 256  # rows a batch when features are computed ahead


def fit_critic(actor: Actor, samples: Samples, n_updates: int, batch_size: int) -> CriticFit:
    """Minimise mean[(V(s) − R)²] with the policy's own optimizer, ``n_updates`` passes in minibatches.

    Gradients are taken for the critic's own parameters only; the optimizer sees none for the others and leaves them
    alone, so the policy is the same function before and after. A fit that ends in NaN or infinity is undone.

    :param actor: the policy, with what belongs to its actor
    :param samples: a rollout
    :param n_updates: passes over the samples, at least 0
    :param batch_size: rows a minibatch
    """
    policy = actor.policy
    parameters = actor.critic_parameters(samples.observations) if n_updates else []
    if not parameters:
        return CriticFit(float("nan"), True)

    policy.set_training_mode(True)
    actor.keep_in_eval_mode()
    regression = _regression(policy, parameters, samples)
    for _ in range(n_updates):
        regression.shuffle(th.randperm(len(samples)))
        for start in range(0, len(samples), batch_size):
            regression.step(slice(start, start + batch_size))
    policy.set_training_mode(False)
    return regression.finish()


def _regression(policy: ActorCriticPolicy, parameters: list[nn.Parameter], samples: Samples) -> Regression:
    """The fastest regression that does what ``policy.predict_values`` and ``policy.optimizer`` would do.

    Features that the actor shares are the actor's and stay fixed during the fit: computed once, and V starts there.
    """
    if not is_stock_policy(policy) or policy.vf_features_extractor is not policy.pi_features_extractor:
        return TorchRegression(policy.predict_values, samples.observations, samples.returns, parameters, policy.optimizer)

    # Written into place: outputs kept one by one lie between freed temporaries and keep the allocator from reusing them.
    features = th.empty(len(samples), policy.features_dim, device=samples.returns.device)
    with th.no_grad():
        for start in range(0, len(samples), FEATURE_ROWS):
            rows = slice(start, start + FEATURE_ROWS)
            features[rows] = policy.extract_features(select(samples.observations, rows), policy.vf_features_extractor)  # type: ignore[assignment]
    if type(policy.mlp_extractor) is MlpExtractor:
        layers = [*policy.mlp_extractor.value_net, policy.value_net]
        if MlpRegression.supports(layers, parameters, policy.optimizer):
            return MlpRegression(layers, features, samples.returns, policy.optimizer)

    def values_of(rows: PyTorchObs) -> th.Tensor:
        return policy.value_net(policy.mlp_extractor.forward_critic(rows))  # type: ignore[arg-type]

    return TorchRegression(values_of, features, samples.returns, parameters, policy.optimizer)
