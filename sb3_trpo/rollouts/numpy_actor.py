"""An SB3 MLP policy's actor in NumPy: for a few observations PyTorch's calls cost thirty times the arithmetic."""

from collections.abc import Callable

import numpy as np
import torch as th
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from sb3_trpo.rollouts.stock import actor_layers, is_stock_mlp

# Multiplications of one layer beyond which NumPy's BLAS starts threads, at a cost above all that is saved here.
LARGEST_PRODUCT = 2**17


def _relu(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0, out=out)


class NumpyNetwork:
    """The actor's network: means or logits ``[n, …]`` of observations ``[n, …]``, with the weights of its construction.

    :param policy: one that :meth:`supports` accepts
    """

    def __init__(self, policy: ActorCriticPolicy):
        self.layers: list[tuple[np.ndarray, np.ndarray] | Callable[..., np.ndarray]] = []
        for module in actor_layers(policy):
            if isinstance(module, nn.Linear):
                weight = np.ascontiguousarray(module.weight.detach().numpy().T)
                self.layers.append((weight, module.bias.detach().numpy()))
            else:
                self.layers.append(np.tanh if isinstance(module, nn.Tanh) else _relu)

    @staticmethod
    def supports(policy: ActorCriticPolicy, n_rows: int) -> bool:
        """Whether this is the policy's actor, and small enough for NumPy to be the faster one."""
        sizes = [p.numel() for layer in actor_layers(policy) for p in layer.parameters()]
        return is_stock_mlp(policy) and n_rows * max(sizes) <= LARGEST_PRODUCT

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        x = obs.reshape(len(obs), -1).astype(np.float32, copy=False)
        for layer in self.layers:
            if isinstance(layer, tuple):
                x = x @ layer[0]
                x += layer[1]
            else:
                x = layer(x, out=x)
        return x


class NumpyActor:
    """Draws actions of a Gaussian or categorical MLP policy for one rollout.

    A Gaussian action is mean + σ ε with ε normal, a categorical one argmax(logits + g) with g Gumbel; the noise comes
    from PyTorch's global generator, which SB3 seeds. Weights are read at construction: an actor serves one rollout.

    :param policy: one that :meth:`NumpyNetwork.supports` accepts
    :param n_steps: env steps an environment
    :param n_envs: environments
    """

    def __init__(self, policy: ActorCriticPolicy, n_steps: int, n_envs: int):
        self.network = NumpyNetwork(policy)
        self.gaussian = isinstance(policy.action_dist, sb3.DiagGaussianDistribution)
        if self.gaussian:
            std = policy.log_std.detach().exp()
            self.noise = (std * th.randn(n_steps, n_envs, len(std))).numpy()
        else:
            uniform = th.rand(n_steps, n_envs, int(policy.action_space.n))  # type: ignore[attr-defined]
            self.noise = -(-uniform.log()).log().numpy()
        self.shape = (n_envs, *policy.action_space.shape)  # type: ignore[misc]
        self.step = 0

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions ``[n_envs, …]`` for observations ``[n_envs, …]``."""
        x = self.network(obs)
        x += self.noise[self.step]
        self.step += 1
        return x.reshape(self.shape) if self.gaussian else x.argmax(axis=1)
