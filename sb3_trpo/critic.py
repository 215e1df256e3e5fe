"""The critic's fit: minibatch regression on the returns, all of it or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch.nn import functional as F

from sb3_trpo.policies import Actor
from sb3_trpo.rollouts import Samples, select

FEATURE_ROWS = 256  # rows a batch when features are computed ahead


@dataclass(frozen=True)
class CriticFit:
    """Outcome of :func:`fit_critic`.

    :param loss: mean squared error over all minibatches, reward units squared; NaN when there was none
    :param finite: whether the fit was kept; if not, critic and optimizer are as before
    """

    loss: float
    finite: bool


def fit_critic(actor: Actor, samples: Samples, n_updates: int, batch_size: int) -> CriticFit:
    """Minimise mean[(V(s) − R)²] with the policy's own optimizer, ``n_updates`` passes in minibatches.

    Gradients are taken for the critic's own parameters only; the optimizer sees none for the others and leaves them
    alone, so the policy is the same function before and after. A fit that ends in NaN or infinity is undone.

    :param actor: the policy, with what belongs to its actor
    :param samples: a rollout
    :param n_updates: passes over the samples, at least 0
    :param batch_size: rows a minibatch
    """
    policy, optimizer = actor.policy, actor.policy.optimizer
    parameters = actor.critic_parameters(samples.observations)
    if n_updates == 0 or not parameters:
        return CriticFit(float("nan"), True)
    before = [parameter.detach().clone() for parameter in parameters], deepcopy(optimizer.state_dict())

    policy.set_training_mode(True)
    actor.keep_in_eval_mode()
    values_of, inputs = _value_function(policy, samples.observations)
    optimizer.zero_grad()
    losses = []
    with _fused(optimizer, parameters):
        for _ in range(n_updates):
            for rows in th.randperm(len(samples)).to(samples.returns.device).split(batch_size):
                loss = F.mse_loss(values_of(select(inputs, rows)).flatten(), samples.returns[rows])
                for parameter, gradient in zip(parameters, th.autograd.grad(loss, parameters), strict=True):
                    parameter.grad = gradient
                optimizer.step()
                losses.append(loss.detach())
    optimizer.zero_grad()
    policy.set_training_mode(False)

    finite = all(bool(th.isfinite(parameter).all()) for parameter in parameters)
    if not finite:
        with th.no_grad():
            for parameter, value in zip(parameters, before[0], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(before[1])
    return CriticFit(float(th.stack(losses).mean()), finite)


def _value_function(
    policy: ActorCriticPolicy, observations: PyTorchObs
) -> tuple[Callable[[PyTorchObs], th.Tensor], PyTorchObs]:
    """V as a function of rows, and what to take the rows from.

    Features that the actor shares are the actor's and stay fixed during the fit: computed once, and V starts there.
    """
    stock = type(policy).predict_values is ActorCriticPolicy.predict_values and "predict_values" not in vars(policy)
    if not stock or policy.vf_features_extractor is not policy.pi_features_extractor:
        return policy.predict_values, observations
    size = len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
    with th.no_grad():
        batches = (select(observations, slice(start, start + FEATURE_ROWS)) for start in range(0, size, FEATURE_ROWS))
        features = th.cat([policy.extract_features(batch, policy.vf_features_extractor) for batch in batches])  # type: ignore[misc]
    return lambda rows: policy.value_net(policy.mlp_extractor.forward_critic(rows)), features


@contextmanager
def _fused(optimizer: th.optim.Optimizer, parameters: list[th.nn.Parameter]) -> Iterator[None]:
    """Stock Adam's fused kernel for the time of the fit: the same update in one call, and the zip file says nothing of it."""
    if type(optimizer) is not th.optim.Adam or any(parameter.device.type != "cpu" for parameter in parameters):
        yield
        return
    chosen = [group["fused"] for group in optimizer.param_groups]
    try:
        for group in optimizer.param_groups:
            group["fused"] = True
        yield
    finally:
        for group, fused in zip(optimizer.param_groups, chosen, strict=True):
            group["fused"] = fused
