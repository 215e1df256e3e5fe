"""An SB3 MLP policy's actor in NumPy: for one observation PyTorch's calls cost thirty times the arithmetic."""

from collections.abc import Callable

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from torch import nn


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


_ACTIVATIONS: dict[type[nn.Module], Callable[[np.ndarray], np.ndarray]] = {nn.Tanh: np.tanh, nn.ReLU: _relu}
_DISTRIBUTIONS = (sb3.DiagGaussianDistribution, sb3.CategoricalDistribution)


class NumpyActor:
    """Draws actions of a Gaussian or categorical MLP policy; all noise of a rollout is drawn before it begins.

    A Gaussian action is mean + σ ε with ε normal, a categorical one the inverse distribution function at a uniform u;
    ε and u come from PyTorch's global generator, which SB3 seeds. Weights are read at construction: an actor serves
    one rollout.

    :param policy: one that :meth:`supports` accepts
    :param n_steps: env steps an environment
    :param n_envs: environments
    """

    def __init__(self, policy: ActorCriticPolicy, n_steps: int, n_envs: int):
        self.layers = []
        for module in (*policy.mlp_extractor.policy_net, policy.action_net):
            if isinstance(module, nn.Linear):
                weight = np.ascontiguousarray(module.weight.detach().numpy().T)
                self.layers.append((weight, module.bias.detach().numpy()))
            else:
                self.layers.append(_ACTIVATIONS[type(module)])
        self.gaussian = isinstance(policy.action_dist, sb3.DiagGaussianDistribution)
        if self.gaussian:
            std = policy.log_std.detach().exp()
            self.noise = (std * th.randn(n_steps, n_envs, len(std))).numpy()
        else:
            self.noise = th.rand(n_steps, n_envs, 1).numpy()
        self.shape = (n_envs, *policy.action_space.shape)
        self.step = 0

    @staticmethod
    def supports(policy: ActorCriticPolicy) -> bool:
        """Whether the policy is SB3's own MLP on plain observations, on the CPU, with nothing hooked into it."""
        modules = (policy.pi_features_extractor, policy.mlp_extractor, policy.action_net, *policy.mlp_extractor.policy_net)
        return (
            policy.device.type == "cpu"
            and type(policy.action_dist) in _DISTRIBUTIONS
            and type(policy.observation_space) is spaces.Box
            and not is_image_space(policy.observation_space)
            and type(policy.pi_features_extractor) is FlattenExtractor
            and type(policy.mlp_extractor) is MlpExtractor
            and type(policy.action_net) is nn.Linear
            and all(type(layer) is nn.Linear or type(layer) in _ACTIVATIONS for layer in policy.mlp_extractor.policy_net)
            and not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
            and all(parameter.dtype == th.float32 for parameter in policy.parameters())
        )

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions ``[n_envs, …]`` for observations ``[n_envs, …]``."""
        x = obs.reshape(len(obs), -1).astype(np.float32, copy=False)
        for layer in self.layers:
            x = layer(x) if callable(layer) else x @ layer[0] + layer[1]
        noise = self.noise[self.step]
        self.step += 1
        if self.gaussian:
            return (x + noise).reshape(self.shape)
        cumulative = np.exp(x - x.max(axis=1, keepdims=True)).cumsum(axis=1)
        # The largest u·total may round up to the total itself: never past the last action.
        chosen = (cumulative < noise * cumulative[:, -1:]).sum(axis=1)
        return np.minimum(chosen, x.shape[1] - 1)
