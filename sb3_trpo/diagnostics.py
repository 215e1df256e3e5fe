"""What an update logs under ``train/``: sb3-contrib's keys, and what the step did and why."""

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.critic import CriticFit
from sb3_trpo.ranks import Ranks, mean_and_std
from sb3_trpo.sampling import Batch
from sb3_trpo.trust_region import Status, improvement_bound
from sb3_trpo.update import Step


def step_diagnostics(
    policy: ActorCriticPolicy, batch: Batch, step: Step, gamma: float, ranks: Ranks
) -> dict[str, float | Status]:
    """The policy's step. Every figure is that of the policy kept: after a refused step the KL is 0.

    ``kl_divergence_loss`` and ``kl_max`` are the mean and the largest KL(π_θ₀ ‖ π_θ) over states, nats;
    ``entropy_loss`` is minus the mean entropy; ``expected_improvement`` is the first-order gain of the step that was
    accepted, ``actual_improvement`` what it gave; ``bound_*`` are the terms of Theorem 1, left out at γ = 1, where
    it says nothing. All of it is over the samples of all ranks.
    """
    search, solution, kept = step.search, step.solution, step.search.evaluation
    kl_max = float(ranks.maximum(kept.kl.max()))
    fraction = search.step_size / step.full.size if step.full.size else 0.0
    diagnostics: dict[str, float | Status] = {
        "train/policy_objective": kept.surrogate,
        "train/kl_divergence_loss": float(ranks.mean(kept.kl.mean())),
        "train/kl_max": kl_max,
        "train/is_line_search_success": float(search.status is Status.OK),
        "train/status": search.status,
        "train/entropy_loss": -kept.entropy,
        "train/step_size": search.step_size,
        "train/backtracks": search.backtracks,
        "train/cg_iterations": solution.iterations,
        "train/cg_residual": solution.residual,
        "train/expected_improvement": fraction * step.full.expected_improvement,
        "train/actual_improvement": kept.surrogate - step.start.surrogate,
    }
    if hasattr(policy, "log_std"):
        diagnostics["train/std"] = float(policy.log_std.detach().exp().mean())
    if gamma < 1.0:
        bound = improvement_bound(kept.ratio, batch.raw_advantages, kl_max, gamma, ranks)
        diagnostics["train/bound_epsilon"] = bound.epsilon
        diagnostics["train/bound_penalty"] = bound.penalty
        diagnostics["train/bound_lower"] = bound.lower
    return diagnostics


def critic_diagnostics(fit: CriticFit, buffer: RolloutBuffer, ranks: Ranks) -> dict[str, float | Status]:
    """The critic's mean loss over the fit, and the share of the returns' variance its values explained before."""
    returns, values = th.as_tensor(buffer.returns).flatten(), th.as_tensor(buffer.values).flatten()
    unexplained, variance = (mean_and_std(th.stack([returns - values, returns]), ranks)[1] ** 2).tolist()
    diagnostics: dict[str, float | Status] = {
        "train/explained_variance": 1.0 - unexplained / variance if variance else float("nan"),
        "train/critic_status": fit.status,
    }
    if fit.status is Status.OK and fit.loss == fit.loss:
        diagnostics["train/value_loss"] = fit.loss
    return diagnostics
