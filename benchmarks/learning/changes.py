"""Changes of TRPO that might learn more from the same env steps: what each does in place of TRPO's own methods or settings."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import DiagGaussianDistribution

from benchmarks.common.training import policy_kwargs_of
from benchmarks.learning.beta_actions import BetaDistribution
from benchmarks.learning.clipped_actions import ClippedGaussianDistribution
from benchmarks.learning.replayed_rollouts import ReplayedRollouts
from sb3_trpo import TRPO
from sb3_trpo.critic import fit_critic
from sb3_trpo.policy import Actor, values_of
from sb3_trpo.sampling import Evaluator, Samples
from sb3_trpo.sampling.evaluators import DeferredEvaluator
from sb3_trpo.trust_region import (
    AutogradLinearization,
    FullStep,
    Solution,
    Status,
    conjugate_gradient,
    full_step,
    unflatten,
)
from sb3_trpo.update import PolicyObjective, Step, StepOptions, policy_step

Settings = Mapping[str, Any]
Change = Callable[[Settings], tuple[Settings, Mapping[str, Any]]]  # from a task's settings to other ones and TRPO's methods

COLOR, MOMENTUM = 0.5, 0.5
ROLLOUTS = 4  # that the critic is fitted to
LAST_SHARE = 0.3  # of target_kl at the end of training
SMALLER_LAMBDA = 0.8  # searches had 0.9 and more
GAUSS_NEWTON_STEPS, GAUSS_NEWTON_DAMPING = 5, 0.1


def with_actions_of(kind: Callable[[Any], DiagGaussianDistribution]) -> Callable[[TRPO], None]:
    """Another distribution of the actions, made for their space, with the Gaussian's two parameters."""

    def make_networks(model: TRPO) -> None:
        TRPO._make_networks(model)
        model.policy.action_dist = kind(model.action_space)

    return make_networks


def colored(rng: np.random.Generator, n_steps: int, shape: tuple[int, ...], beta: float) -> np.ndarray:
    """Gaussian noise whose power falls with frequency f as f^−β, each value of variance 1 ``[n_steps, *shape]``.

    :param beta: 0 is white noise, 1 pink
    """
    frequencies = np.fft.rfftfreq(n_steps)
    frequencies[0] = frequencies[1]
    amplitude = frequencies ** (-beta / 2.0)
    amplitude /= math.sqrt(np.mean(np.fft.irfft(amplitude**2, n_steps)[0]))
    white = rng.standard_normal((n_steps, *shape))
    spectrum = np.fft.rfft(white, axis=0) * amplitude.reshape(-1, *(1 for _ in shape))
    return np.fft.irfft(spectrum, n_steps, axis=0)


def with_colored_noise(model: TRPO, buffer: RolloutBuffer, gamma: float) -> Evaluator:
    """TRPO's evaluator with the noise of a whole rollout drawn at once (Hollenstein et al. 2024); every action alone follows
    the policy.
    """
    evaluator = TRPO._make_evaluator(model, buffer, gamma)
    assert isinstance(evaluator, DeferredEvaluator) and evaluator.fast is not None
    rng = np.random.default_rng([model.seed or 0, model.num_timesteps])
    evaluator.noise = iter(evaluator.fast.deviation * colored(rng, buffer.buffer_size, evaluator.fast.noise_shape, COLOR))
    return evaluator


def with_the_critic_first(model: TRPO, buffer: RolloutBuffer) -> Any:
    """Advantages by a critic that was fitted to this very rollout, with half of the passes; the other half come afterwards."""
    TRPO._estimate_advantages(model, buffer)
    samples = model._read_samples()
    actor = Actor(model.policy, samples.observations)
    fit_critic(actor, samples, model.n_critic_updates, model.batch_size, model._ranks, model._left_out)
    with th.no_grad():
        values = values_of(model.policy, samples.observations).numpy()
    buffer.values = values.reshape(buffer.values.shape)
    return TRPO._estimate_advantages(model, buffer)


def with_ranked_advantages(model: TRPO) -> Samples:
    """Advantages replaced by the normal quantiles of their ranks: the order stays, the heavy tails go."""
    samples = TRPO._read_samples(model)
    ranks = samples.advantages.argsort().argsort()
    quantiles = th.special.ndtri((ranks + 0.5) / len(samples))
    return replace(samples, advantages=quantiles.to(samples.advantages.dtype))


def with_momentum(model: TRPO, objective: PolicyObjective) -> Step:
    """The natural gradient's direction plus a part of the step before, as long as the trust region allows."""
    options = StepOptions.of(model)
    before: th.Tensor | None = getattr(model, "_step_before", None)

    def length(solution: Solution, gradient: th.Tensor, target_kl: float) -> FullStep:
        full = full_step(solution, gradient, target_kl)
        if before is None or not full.status.usable:
            return full
        vector = full.vector + MOMENTUM * before
        size = math.sqrt(2.0 * target_kl / objective.fisher(options.cg_damping).quadratic_form(vector))
        return FullStep(size * vector, full.size, float(gradient @ vector) * size, full.status)

    step = policy_step(objective, options, model._ranks, length)
    model._step_before = step.search.theta - objective.theta  # type: ignore[attr-defined]
    return step


def with_a_second_gradient(model: TRPO, objective: PolicyObjective) -> Step:
    """The step once more from θ₀, with the gradient at the end of the first: nearer to the best θ of the trust region."""
    options = StepOptions.of(model)
    step = policy_step(objective, options, model._ranks)
    if step.status is not Status.OK:
        return step
    with objective.actor.at(step.search.theta):
        end = PolicyObjective(objective.actor, objective.batch, objective.surrogate, objective.ent_coef, objective.ranks)
    objective.gradient = end.gradient
    steps = (step, policy_step(objective, options, model._ranks))
    return max(steps, key=lambda step: step.search.evaluation.surrogate)


def with_older_rollouts(passes: int) -> Callable[[TRPO, PolicyObjective], Step]:
    """The critic is fitted to the last rollouts together, with about as many minibatches as one rollout would have; then once
    more to the present rollout.

    :param passes: over the present one if it is alone
    """

    def find_step(model: TRPO, objective: PolicyObjective) -> Step:
        step = policy_step(objective, StepOptions.of(model), model._ranks)
        samples = model._read_samples()
        own = Samples(*(getattr(samples, field.name).clone() for field in fields(Samples)))
        kept: list[Samples] = [*getattr(model, "_older", []), own][-ROLLOUTS:]
        model._older = kept  # type: ignore[attr-defined]
        together = Samples(*(th.cat([getattr(each, field.name) for each in kept]) for field in fields(Samples)))
        fit_critic(objective.actor, together, passes // len(kept), model.batch_size, model._ranks, model._left_out)
        return step

    return find_step


def with_falling_target_kl(model: TRPO, objective: PolicyObjective) -> Step:
    """The trust region shrinks with the remaining progress."""
    options = StepOptions.of(model)
    share = LAST_SHARE + (1.0 - LAST_SHARE) * model._current_progress_remaining
    return policy_step(objective, replace(options, target_kl=share * options.target_kl), model._ranks)


def with_a_gauss_newton_critic(model: TRPO, objective: PolicyObjective) -> Step:
    """The critic lowers ½ mean (V − R)² + ½ λ‖Δ‖² by damped Gauss–Newton steps Δ over the whole rollout, each halved until the
    squared error falls.
    """
    samples = model._read_samples()
    parameters = list(objective.actor.critic_parameters(samples.observations).values())
    for _ in range(GAUSS_NEWTON_STEPS):
        values = values_of(model.policy, samples.observations).reshape(-1, 1)
        linearization, error = AutogradLinearization(values, parameters), samples.returns.reshape(-1, 1) - values.detach()

        def product(vector: th.Tensor, linearization: AutogradLinearization = linearization) -> th.Tensor:
            return linearization.vjp(linearization.jvp(vector)) / len(samples) + GAUSS_NEWTON_DAMPING * vector

        solution = conjugate_gradient(product, linearization.vjp(error) / len(samples), model.cg_max_steps)
        _halve_until_better(model, samples, parameters, solution.x, float((error**2).mean()))
    return policy_step(objective, StepOptions.of(model), model._ranks)


@th.no_grad()
def _halve_until_better(
    model: TRPO, samples: Samples, parameters: list[th.nn.Parameter], step: th.Tensor, before: float, halvings: int = 5
) -> None:
    """Move the critic by the longest of step, step / 2, step / 4 … that lowers its mean squared error; else leave it."""
    stood = [parameter.clone() for parameter in parameters]
    for halving in range(halvings):
        for parameter, own, part in zip(parameters, stood, unflatten(step / 2.0**halving, parameters), strict=True):
            parameter.copy_(own + part)
        if float(((samples.returns - values_of(model.policy, samples.observations).flatten()) ** 2).mean()) < before:
            return
    for parameter, own in zip(parameters, stood, strict=True):
        parameter.copy_(own)


def other(**methods: Any) -> Change:
    """The task's settings, and these in place of TRPO's methods."""
    return lambda settings: (settings, methods)


def critic_first(settings: Settings) -> tuple[Settings, Mapping[str, Any]]:
    halved = {**settings, "n_critic_updates": settings["n_critic_updates"] // 2}
    return halved, {"_estimate_advantages": with_the_critic_first}


def older_rollouts(settings: Settings) -> tuple[Settings, Mapping[str, Any]]:
    return {**settings, "n_critic_updates": 1}, {"_find_step": with_older_rollouts(settings["n_critic_updates"])}


def replayed_rollouts(settings: Settings) -> tuple[Settings, Mapping[str, Any]]:
    replayed = ReplayedRollouts(settings["n_critic_updates"])

    def estimate_advantages(model: TRPO, buffer: RolloutBuffer) -> Any:
        return replayed.estimate_advantages(model, buffer)

    return {**settings, "n_critic_updates": 0}, {"_estimate_advantages": estimate_advantages}


def gauss_newton_critic(settings: Settings) -> tuple[Settings, Mapping[str, Any]]:
    return {**settings, "n_critic_updates": 0}, {"_find_step": with_a_gauss_newton_critic}


def larger_critic(settings: Settings) -> tuple[Settings, Mapping[str, Any]]:
    networks = {"net_arch": {"pi": [64, 64], "vf": [256, 256]}}
    return {**settings, "policy_kwargs": {**policy_kwargs_of(dict(settings)), **networks}}, {}


def smaller_lambda(settings: Settings) -> tuple[Settings, Mapping[str, Any]]:
    return {**settings, "gae_lambda": SMALLER_LAMBDA}, {}


def more_environments(times: int) -> Change:
    """More environments, each for fewer steps, so that a rollout has as many steps as before."""
    return lambda settings: (
        {**settings, "n_envs": times * settings["n_envs"], "n_steps": settings["n_steps"] // times},
        {},
    )


CHANGES: dict[str, Change] = {
    "as it is": other(),
    "clipped actions": other(_make_networks=with_actions_of(ClippedGaussianDistribution)),
    "coloured noise": other(_make_evaluator=with_colored_noise),
    "critic first": critic_first,
    "ranked advantages": other(_read_samples=with_ranked_advantages),
    "second gradient": other(_find_step=with_a_second_gradient),
    "momentum": other(_find_step=with_momentum),
    "older rollouts": older_rollouts,
    "replayed rollouts": replayed_rollouts,
    "falling target_kl": other(_find_step=with_falling_target_kl),
    "Beta actions": other(_make_networks=with_actions_of(BetaDistribution)),
    "Gauss–Newton critic": gauss_newton_critic,
    "larger critic": larger_critic,
    "smaller gae_lambda": smaller_lambda,
    "four environments": more_environments(2),
    "eight environments": more_environments(4),
}
