"""TRPO with the constraint of the theory, the largest KL divergence over states: for policies of a few parameters."""

from dataclasses import replace

import numpy as np
import torch as th
from scipy.optimize import minimize

from benchmarks.figure4.updates import CANDIDATES, DAMPING, DELTA, SHRINK
from sb3_trpo.trust_region import Evaluation, FullStep, Status, backtracking_line_search
from sb3_trpo.update import PolicyObjective

ROUNDS = 30
TOLERANCE = 1.01


def fisher_matrices(objective: PolicyObjective) -> np.ndarray:
    """F_s = J_sᵀ M_s J_s of every state ``[B, N, N]``."""
    linearization = objective.actor.linearize(objective.batch.observations)[0]
    metric = objective.actor.family.fisher(linearization.at.detach())
    columns = [linearization.jvp(direction) for direction in th.eye(len(objective.gradient))]
    jacobian, product = th.stack(columns, dim=2), th.stack([metric(column) for column in columns], dim=2)
    return th.einsum("bpi,bpj->bij", jacobian, product).detach().double().numpy()


def largest_step(gradient: np.ndarray, matrices: np.ndarray, delta: float, damping: float) -> np.ndarray:
    """argmax gᵀx with ½ xᵀF_s x ≤ δ in every state and ½ xᵀ(F̄ + λI)x ≤ δ, F̄ the mean of all F_s.

    Few states bind: those that the solution violates most are added one by one until it violates none.

    :param gradient: g ``[N]``
    :param matrices: F_s ``[B, N, N]``
    :param delta: δ, nats
    :param damping: λ
    """
    binding = [matrices.mean(axis=0) + damping * np.eye(len(gradient))]
    x = np.linalg.solve(binding[0], gradient)
    x *= np.sqrt(2.0 * delta / (gradient @ x))
    uphill = gradient / np.linalg.norm(gradient)
    for _ in range(ROUNDS):
        divergences = 0.5 * np.einsum("i,bij,j->b", x, matrices, x)
        if divergences.max() <= TOLERANCE * delta:
            break
        binding.append(matrices[divergences.argmax()])
        forms = np.array(binding) / delta
        constraint = {
            "type": "ineq",
            "fun": lambda x, forms=forms: 1.0 - 0.5 * np.einsum("i,bij,j->b", x, forms, x),
            "jac": lambda x, forms=forms: -forms @ x,
        }
        start = x * np.sqrt(delta / divergences.max())
        x = minimize(lambda x: -uphill @ x, start, jac=lambda x: -uphill, constraints=constraint, method="SLSQP").x
    return x


def max_kl(objective: PolicyObjective) -> th.Tensor:
    """The step of the quadratic model, then backtracking until the largest divergence itself keeps the bound."""

    def by_the_largest(evaluation: Evaluation) -> Evaluation:
        return replace(evaluation, kl=evaluation.kl.max().reshape(1))

    gradient = objective.gradient.double().numpy()
    x = largest_step(gradient, fisher_matrices(objective), DELTA, DAMPING)
    step = FullStep(th.as_tensor(x, dtype=th.float32), 1.0, float(gradient @ x), Status.OK)
    arguments = (objective.actor.theta, by_the_largest(objective.start), step, DELTA, SHRINK, CANDIDATES)
    return backtracking_line_search(lambda theta: by_the_largest(objective.evaluate(theta)), *arguments).theta
