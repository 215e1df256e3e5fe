"""Relative entropy policy search (Peters et al. 2010), contextual (Kupcsik et al. 2013), with Monte-Carlo returns."""

from dataclasses import dataclass

import numpy as np
import torch as th
from scipy.optimize import minimize

from sb3_trpo.update import PolicyObjective

LBFGS_STEPS = 20


def weights(returns: np.ndarray, features: np.ndarray, epsilon: float) -> np.ndarray:
    """p ∝ exp((R − vᵀφ)/η) of the samples, which maximises Σ p R with KL(p ‖ uniform) ≤ ε and Σ p φ = mean φ.

    η > 0 and v minimise the dual ηε + vᵀ mean φ + η log mean exp((R − vᵀφ)/η); as vᵀφ is subtracted in every state, v is
    a baseline.

    :param returns: R ``[B]``
    :param features: φ ``[B, n]``
    :param epsilon: ε, nats
    :return: p ``[B]``, which sums to 1
    """
    centred = features - features.mean(axis=0)

    def exponents(v: np.ndarray, eta: float) -> tuple[np.ndarray, float]:
        scaled = (returns - centred @ v) / eta
        return scaled, float(scaled.max())

    def dual(arguments: np.ndarray) -> tuple[float, np.ndarray]:
        eta, v = np.exp(arguments[0]), arguments[1:]
        scaled, top = exponents(v, eta)
        p = np.exp(scaled - top)
        log_mean = top + np.log(p.mean())
        p /= p.sum()
        value = eta * (epsilon + log_mean)
        return value, np.concatenate([[eta * (epsilon + log_mean - p @ scaled)], -p @ centred])

    start = np.concatenate([[np.log(returns.std() + 1e-8)], np.zeros(features.shape[1])])
    found = minimize(dual, start, jac=True, method="L-BFGS-B").x
    scaled, top = exponents(found[1:], np.exp(found[0]))
    p = np.exp(scaled - top)
    return p / p.sum()


@dataclass(frozen=True)
class RelativeEntropySearch:
    """θ that maximises the likelihood of the re-weighted samples, Σ p log π_θ(a|s), by L-BFGS from θ₀.

    :param epsilon: ε, nats
    """

    epsilon: float

    def __call__(self, objective: PolicyObjective) -> th.Tensor:
        batch, actor = objective.batch, objective.actor
        observations = batch.observations
        assert isinstance(observations, th.Tensor)
        features = (observations - observations.mean(dim=0)) / (observations.std(dim=0) + 1e-8)
        p = th.as_tensor(weights(batch.advantages.double().numpy(), features.double().numpy(), self.epsilon))
        before = actor.theta
        optimizer = th.optim.LBFGS(actor.parameters, max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")

        def loss() -> th.Tensor:
            optimizer.zero_grad()
            negative = -(p * actor.policy.get_distribution(observations).log_prob(batch.actions)).sum()
            negative.backward()
            return negative

        optimizer.step(loss)  # type: ignore[arg-type]
        after = actor.theta
        optimizer.zero_grad()
        actor.assign(before)
        return after
