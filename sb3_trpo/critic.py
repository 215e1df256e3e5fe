"""The critic's fit: minibatch regression on the returns, all of it or nothing."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import PyTorchObs
from torch.nn import functional as F

from sb3_trpo.policies import Actor


@dataclass(frozen=True)
class CriticFit:
    """Outcome of :func:`fit_critic`.

    :param loss: mean squared error over all minibatches, reward units squared; NaN when there was none
    :param finite: whether the fit was kept; if not, critic and optimizer are as before
    """

    loss: float
    finite: bool


def fit_critic(actor: Actor, observations: PyTorchObs, buffer: RolloutBuffer, n_updates: int, batch_size: int) -> CriticFit:
    """Minimise mean[(V(s) − R)²] with the policy's own optimizer, ``n_updates`` passes in minibatches.

    Gradients are taken for the critic's own parameters only; the optimizer sees none for the others and leaves them
    alone, so the policy is the same function before and after. A fit that ends in NaN or infinity is undone.

    :param actor: the policy, with what belongs to its actor
    :param observations: a batch the policy can be evaluated on, to find what belongs to the critic
    :param buffer: a full rollout buffer
    :param n_updates: passes over the buffer, at least 0
    :param batch_size: rows a minibatch
    """
    policy, optimizer = actor.policy, actor.policy.optimizer
    parameters = actor.critic_parameters(observations)
    if n_updates == 0 or not parameters:
        return CriticFit(float("nan"), True)
    before = [parameter.detach().clone() for parameter in parameters], deepcopy(optimizer.state_dict())

    policy.set_training_mode(True)
    actor.keep_in_eval_mode()
    optimizer.zero_grad()
    losses = []
    for _ in range(n_updates):
        for minibatch in buffer.get(batch_size):
            values = policy.predict_values(minibatch.observations).flatten()
            loss = F.mse_loss(values, minibatch.returns)
            for parameter, gradient in zip(parameters, th.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
            losses.append(loss.item())
    optimizer.zero_grad()
    policy.set_training_mode(False)

    finite = all(bool(th.isfinite(parameter).all()) for parameter in parameters)
    if not finite:
        with th.no_grad():
            for parameter, value in zip(parameters, before[0], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(before[1])
    return CriticFit(float(np.mean(losses)), finite)
