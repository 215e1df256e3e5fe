"""Recurrent policies in double precision, and the plain loop over single steps that they are compared with."""

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_trpo.policy import Memory, Sequences

HIDDEN, OBS = 6, 4
SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}
NETWORK = {"lstm_hidden_size": 8, "net_arch": [8]}  # of a policy that learns


class Double(FlattenExtractor):
    """Features in double precision."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return super().forward(observations).double()


OPTIONS: dict[str, dict[str, Any]] = {
    "separate": {},
    "shared": {"shared_lstm": True, "enable_critic_lstm": False},
    "none": {"enable_critic_lstm": False},
    "two layers": {"n_lstm_layers": 2, "lstm_kwargs": {"dropout": 0.3}},
    "apart": {"share_features_extractor": False, "lstm_kwargs": {"bias": False}},
}


def make_policy(space: spaces.Space, kind: type = RecurrentActorCriticPolicy, **options: Any) -> Any:
    th.manual_seed(0)
    observations = spaces.Box(-1.0, 1.0, (OBS,))
    sizes = {"lstm_hidden_size": HIDDEN, "net_arch": [5]}
    policy = kind(observations, space, lambda _: 1e-3, features_extractor_class=Double, **{**sizes, **options})
    policy.set_training_mode(False)
    return policy.double()


@dataclass
class Path:
    """Steps of several environments, and what their LSTMs began with.

    :param obs: ``[T, n, OBS]``
    :param starts: whether an episode begins with each step ``[T, n]``
    :param begin: of each environment
    """

    obs: th.Tensor
    starts: np.ndarray
    begin: Memory

    def sequences(self) -> Sequences:
        """Cut where episodes begin, the plain way: environment by environment, step by step."""
        steps, lengths, envs, fresh = [], [], [], []
        n_steps, n_envs = self.starts.shape
        for env in range(n_envs):
            for step in range(n_steps):
                if step == 0 or self.starts[step, env]:
                    lengths.append(0)
                    envs.append(env)
                    fresh.append(bool(self.starts[step, env]))
                lengths[-1] += 1
                steps.append(step * n_envs + env)
        memory = self.begin.of(th.tensor(envs))
        kept = ~th.tensor(fresh)[:, None]
        memory = Memory(*((hidden * kept, cell * kept) for hidden, cell in memory))
        return Sequences(self.obs.flatten(0, 1), th.tensor(steps), np.array(lengths), memory)

    def loop(self, policy: Any, call: Any, states: Any) -> list[Any]:
        """``call(obs, states, starts)`` for every single step of every environment, carrying what it returns second."""
        results = []
        n_steps, n_envs = self.starts.shape
        for env in range(n_envs):
            carried = tuple(part[:, env : env + 1] for part in states)
            for step in range(n_steps):
                start = th.tensor([float(self.starts[step, env])], dtype=th.float64)
                result, carried = call(self.obs[step, env : env + 1], carried, start)
                results.append(copy(result))  # a policy gives out one distribution, again and again
        return results


def make_path(starts: np.ndarray, layers: int = 1, seed: int = 0) -> Path:
    th.manual_seed(seed)
    n_envs = starts.shape[1]
    states = [th.randn(layers, n_envs, HIDDEN, dtype=th.float64) for _ in range(4)]
    return Path(th.rand(*starts.shape, OBS) * 2 - 1, starts, Memory((states[0], states[1]), (states[2], states[3])))


def starts_of(*rows: str) -> np.ndarray:
    """``"x..x."`` for each environment: x where an episode begins."""
    return np.array([[mark == "x" for mark in row] for row in rows]).T


CUTS = {
    "in the middle": starts_of("...x....", "x.....x.", "........"),
    "of length one": starts_of("xx....xx", "x.xx....", ".......x"),
    "at every step": starts_of("xxxxxxxx", "xxxxxxxx"),
    "one environment": starts_of(".....x.."),
}
