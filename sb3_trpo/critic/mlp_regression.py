"""The regression of a plain MLP with Adam, gradient and update written out: on small minibatches autograd, modules and
optimizer cost several times the arithmetic."""

import torch as th
from torch import nn

from sb3_trpo.critic.minibatches import Minibatch
from sb3_trpo.critic.regression import mean_loss
from sb3_trpo.policy import backward, forward, is_mlp
from sb3_trpo.policy.hooks import is_hooked
from sb3_trpo.ranks import Ranks
from sb3_trpo.trust_region import flatten, unflatten

_UNSUPPORTED = ("weight_decay", "amsgrad", "maximize", "capturable", "differentiable")
# What Adam(fused=True) calls, in a quarter of its time on a small network. It is private: a version of PyTorch may lack it
_FUSED_ADAM = getattr(th, "_fused_adam_", None)


class MlpRegression:
    """Adam (Kingma and Ba 2015, algorithm 1) on the mean squared error, on one flat vector of parameters.

    Network and optimizer are written to when the fit is over; the optimizer's state then reads as if PyTorch had made the
    steps.

    :param modules: the network, one that :meth:`supports` accepts
    :param inputs: ``[B, n]``
    :param targets: ``[B]``
    :param optimizer: holds learning rate and moments
    :param ranks: those who share every minibatch
    """

    def __init__(
        self,
        modules: list[nn.Module],
        inputs: th.Tensor,
        targets: th.Tensor,
        optimizer: th.optim.Optimizer,
        ranks: Ranks,
    ):
        self.ranks = ranks
        self.modules, self.inputs, self.targets, self.optimizer = modules, inputs, targets[:, None], optimizer
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.theta = flatten([parameter.detach() for parameter in self.parameters])
        self.gradient = th.empty_like(self.theta)
        self.weights, self.gradients = (unflatten(flat, self.parameters) for flat in (self.theta, self.gradient))
        states = [optimizer.state.get(parameter, {}) for parameter in self.parameters]
        self.first, self.second = (
            flatten([state.get(name, th.zeros_like(p)) for p, state in zip(self.parameters, states, strict=True)])
            for name in ("exp_avg", "exp_avg_sq")
        )
        self.steps = th.as_tensor(float(states[0].get("step", 0)), device=self.theta.device)
        group = optimizer.param_groups[0]
        beta1, beta2 = group["betas"]
        self.options = {"lr": float(group["lr"]), "beta1": beta1, "beta2": beta2, "eps": group["eps"]}
        self.options |= {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        self.losses: list[th.Tensor] = []

    @staticmethod
    def supports(modules: list[nn.Module], parameters: list[nn.Parameter], optimizer: th.optim.Optimizer) -> bool:
        """Whether this is a plain MLP and the whole critic, under Adam with but rate, betas and ε, and nothing hooked in."""
        own = {id(parameter) for module in modules for parameter in module.parameters()}
        steps = {float(optimizer.state.get(parameter, {}).get("step", 0)) for parameter in parameters}
        return (
            is_mlp(modules)
            and type(optimizer) is th.optim.Adam
            and not (is_hooked(optimizer) or "step" in vars(optimizer))
            and len(optimizer.param_groups) == 1
            and not any(optimizer.param_groups[0][option] for option in _UNSUPPORTED)
            and own == {id(parameter) for parameter in parameters}
            and own <= {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
            and len(steps) == 1
        )

    def shuffle(self, order: th.Tensor) -> None:
        order = order.to(self.inputs.device)
        self.shuffled_inputs, self.shuffled_targets = self.inputs[order], self.targets[order]

    @th.no_grad()
    def step(self, minibatch: Minibatch) -> None:
        rows, size = minibatch
        outputs = forward(self.modules, self.weights, self.shuffled_inputs[rows])
        error = outputs[-1] - self.shuffled_targets[rows]
        self.losses.append(th.linalg.vecdot(error, error, dim=0).div_(size))
        backward(self.modules, self.weights, outputs, error * (2.0 / size), self.gradients)
        self.ranks.all_reduce([self.gradient])
        self._adam_step()

    def _adam_step(self) -> None:
        """One pass over memory instead of six."""
        if _FUSED_ADAM is not None:
            self.steps += 1
            _FUSED_ADAM([self.theta], [self.gradient], [self.first], [self.second], [], [self.steps], **self.options)
            return
        self.theta.grad = self.gradient
        betas = self.options["beta1"], self.options["beta2"]
        adam = th.optim.Adam([self.theta], self.options["lr"], betas, self.options["eps"], fused=True)
        adam.state[self.theta] = {"step": self.steps, "exp_avg": self.first, "exp_avg_sq": self.second}
        adam.step()

    @th.no_grad()
    def finish(self) -> float:
        moments = (unflatten(flat, self.parameters) for flat in (self.first, self.second))
        for parameter, weight, first, second in zip(self.parameters, self.weights, *moments, strict=True):
            parameter.copy_(weight)
            state = {"exp_avg": first.clone(), "exp_avg_sq": second.clone()}
            self.optimizer.state[parameter] = {"step": self.steps.to("cpu", copy=True), **state}
        return mean_loss(self.losses, self.ranks)
