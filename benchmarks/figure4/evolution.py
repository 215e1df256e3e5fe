"""Search in the space of parameters: the cross-entropy method (Szita and Lőrincz 2006) and CMA-ES (the ``cma`` library)."""

from collections.abc import Iterator
from itertools import pairwise

import cma
import gymnasium as gym
import numpy as np

POPULATION, ELITE, INITIAL_STD = 40, 8, 1.0  # of the cross-entropy method; CMA-ES takes its library's population
CMA_STD = 0.5


class Network:
    """A deterministic policy with tanh layers, its parameters θ in one vector.

    :param sizes: of all layers, observations and actions included
    """

    def __init__(self, sizes: tuple[int, ...]):
        self.shapes = [shape for n, m in pairwise(sizes) for shape in ((n, m), (m,))]
        self.size = sum(int(np.prod(shape)) for shape in self.shapes)

    def layers(self, theta: np.ndarray) -> list[np.ndarray]:
        bounds = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(theta, bounds), self.shapes, strict=True)]

    @staticmethod
    def act(layers: list[np.ndarray], observation: np.ndarray) -> np.ndarray:
        x = observation
        for index in range(0, len(layers), 2):
            x = (np.tanh(x) if index else x) @ layers[index] + layers[index + 1]
        return x


def episode(env: gym.Env, network: Network, theta: np.ndarray) -> tuple[float, int]:
    """Undiscounted return and length."""
    space, layers = env.action_space, network.layers(theta)
    assert isinstance(space, gym.spaces.Box)
    observation, _ = env.reset()
    total, steps, done = 0.0, 0, False
    while not done:
        action = np.clip(network.act(layers, observation), space.low, space.high).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, steps, done = total + float(reward), steps + 1, terminated or truncated
    return total, steps


class CrossEntropy:
    """Independent normals, refitted to the best of every generation.

    :param size: parameters
    :param rng: draws
    """

    def __init__(self, size: int, rng: np.random.Generator):
        self.mean, self.std, self.rng = np.zeros(size), np.full(size, INITIAL_STD), rng

    def ask(self) -> list[np.ndarray]:
        return list(self.mean + self.std * self.rng.standard_normal((POPULATION, len(self.mean))))

    def tell(self, candidates: list[np.ndarray], costs: list[float]) -> None:
        best = np.array(candidates)[np.argsort(costs)[:ELITE]]
        self.mean, self.std = best.mean(axis=0), best.std(axis=0)


def covariance_adaptation(size: int, rng: np.random.Generator) -> cma.CMAEvolutionStrategy:
    """CMA-ES with its library's own settings, but for those that end a run early."""
    options = {"seed": int(rng.integers(1, 2**31)), "verbose": -9, "tolfun": 0, "tolfunhist": 0, "tolflatfitness": np.inf}
    return cma.CMAEvolutionStrategy(np.zeros(size), CMA_STD, options)


def search(
    strategy: CrossEntropy | cma.CMAEvolutionStrategy, env: gym.Env, network: Network
) -> Iterator[tuple[list[float], int]]:
    """Returns and simulator steps of one generation after the other, an episode for every candidate."""
    while True:
        candidates = strategy.ask()
        outcomes = [episode(env, network, theta) for theta in candidates]
        returns = [outcome for outcome, _ in outcomes]
        strategy.tell(candidates, [-outcome for outcome in returns])
        yield returns, sum(steps for _, steps in outcomes)
