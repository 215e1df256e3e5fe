"""The tasks of the paper's Figure 4 as today's simulators have them, and what further runs change in them."""

from dataclasses import dataclass, replace

import gymnasium as gym
import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

HORIZON = 1_000  # of an episode, and of what each environment collects in an iteration


class RadialBasis(nn.Module):
    """exp(−x²), unit by unit."""

    def forward(self, x: th.Tensor) -> th.Tensor:
        return th.exp(-x.square())


@dataclass(frozen=True)
class Task:
    """A task and how it is sampled.

    :param env_id: simulator
    :param hidden: units of the policy's hidden layers; none for a linear policy
    :param goal: undiscounted return beyond which it counts as done
    :param branch_length: of the vine
    :param batch: simulator steps of an iteration, a multiple of the horizon
    :param trunk: how many of these the vine's trunk has
    :param steps: simulator steps of a run
    :param gamma: discount factor
    :param activation: of the hidden layers
    :param methods: those compared; None for all
    """

    env_id: str
    hidden: tuple[int, ...]
    goal: float
    branch_length: int = 100
    batch: int = 10_000
    trunk: int = 4_000
    steps: int = 1_000_000
    gamma: float = 0.99
    activation: type[nn.Module] = nn.Tanh
    methods: tuple[str, ...] | None = None

    @property
    def env_kwargs(self) -> dict[str, bool]:
        """State dimensions 10, 12 and 18 as in the paper; the cart's position is in its state anyway."""
        return {} if self.env_id == "InvertedPendulum-v5" else {"exclude_current_positions_from_observation": False}

    def make_envs(self, n_envs: int, seed: int) -> VecEnv:
        return make_vec_env(self.env_id, n_envs, seed, env_kwargs=self.env_kwargs)

    def make_env(self) -> gym.Env:
        return gym.make(self.env_id, **self.env_kwargs)


PAPER = {
    "Cart-pole": Task("InvertedPendulum-v5", (), goal=950.0, batch=5_000, trunk=2_000),
    "Swimmer": Task("Swimmer-v5", (30,), goal=90.0, branch_length=50),
    "Hopper": Task("Hopper-v5", (50,), goal=1_000.0),
    "Walker": Task("Walker2d-v5", (50,), goal=1_000.0),
}
SAMPLING = ("single path", "vine")
RADIAL_BASIS = {
    f"{name}, radial basis": replace(PAPER[name], hidden=(100, 50), activation=RadialBasis, methods=SAMPLING)
    for name in ("Swimmer", "Hopper")
}
LARGE_BATCHES = {  # 200 iterations as in the paper, for the Swimmer of its size, for the Hopper of a twentieth
    f"{name}, 50,000 steps": replace(PAPER[name], batch=50_000, trunk=16_000, steps=10_000_000, methods=SAMPLING)
    for name in ("Swimmer", "Hopper")
}
LONG_HORIZON = {"Swimmer, gamma=0.999": replace(PAPER["Swimmer"], gamma=0.999, methods=SAMPLING)}
TASKS = {**PAPER, **RADIAL_BASIS, **LARGE_BATCHES, **LONG_HORIZON}
