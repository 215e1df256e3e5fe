"""Changes of the method, not of its settings, that might learn more from the same env steps: a screening.

500,000 steps with each task's settings, three seeds that no other study uses. What is ahead here is compared again over
1,000,000 steps with the comparison's ten seeds before it becomes an option; what is not stays a row of the table.
"""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import difference
from benchmarks.common.training import Plan, Variant, settings_for, train
from benchmarks.learning import mujoco
from benchmarks.learning.clipped_actions import with_clipped_actions
from benchmarks.learning.mujoco import TASKS
from benchmarks.learning.scored import STORE as COMPARISON
from sb3_trpo import TRPO
from sb3_trpo.critic import fit_critic
from sb3_trpo.policy import Actor, values_of
from sb3_trpo.sampling import Evaluator, Samples
from sb3_trpo.sampling.evaluators import DeferredEvaluator
from sb3_trpo.trust_region import FullStep, Solution, Status, full_step
from sb3_trpo.update import PolicyObjective, Step, StepOptions, policy_step

STORE = Runs("gains")
STEPS, SEEDS = 500_000, (201, 202, 203)
LONGER, LONGER_SEEDS = ("clipped actions",), range(10)  # compared again over more steps, with the comparison's seeds
COLOR, MOMENTUM = 0.5, 0.5
ROLLOUTS = 4  # that the critic is fitted to


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
    """The critic is fitted to the last rollouts together, with as many minibatches, and at last to the present one once.

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


VARIANTS: dict[str, Variant] = {
    "as it is": Variant(),
    "clipped actions": Variant(methods={"_make_networks": with_clipped_actions}),
    "coloured noise": Variant(methods={"_make_evaluator": with_colored_noise}),
    "critic first": Variant(methods={"_estimate_advantages": with_the_critic_first}),
    "ranked advantages": Variant(methods={"_read_samples": with_ranked_advantages}),
    "second gradient": Variant(methods={"_find_step": with_a_second_gradient}),
    "momentum": Variant(methods={"_find_step": with_momentum}),
    "older rollouts": Variant(),  # its method depends on the settings
}


def run(cell: Cell) -> Run | None:
    settings, methods = settings_for("sb3_trpo", cell.task), VARIANTS[cell.variant].methods
    passes = settings["n_critic_updates"]
    if cell.variant == "critic first":
        settings["n_critic_updates"] = passes // 2
    if cell.variant == "older rollouts":
        settings["n_critic_updates"], methods = 1, {"_find_step": with_older_rollouts(passes)}
    steps, episodes = (STEPS, 5) if cell.seed in SEEDS else (mujoco.STEPS, mujoco.FINAL_EPISODES)
    plan = Plan("sb3_trpo", cell.task, settings, steps, cell.seed, final_episodes=episodes, methods=methods)
    return train(plan, cell.changes)


def means(env_id: str, variant: str) -> dict[int, float]:
    """Mean of all evaluations of a run, by seed."""
    cells = (Cell(env_id, variant, seed) for seed in SEEDS)
    return {cell.seed: pd.read_csv(STORE.file(cell, "csv"))["mean"].mean() for cell in cells if STORE.has(cell)}


def table() -> str:
    """Means over runs, less those of the method as it is with the same seeds, with 95 % intervals."""
    rows = []
    for env_id in TASKS:
        plain = means(env_id, "as it is")
        row = [env_id, f"{np.mean(list(plain.values())):.0f}" if plain else ""]
        for name in VARIANTS:
            if name != "as it is":
                found = means(env_id, name)
                seeds = sorted(found.keys() & plain.keys())
                row.append(difference([found[seed] for seed in seeds], [plain[seed] for seed in seeds]) if seeds else "")
        rows.append(row)
    return markdown.table(["mean over the run", *VARIANTS], rows)


def longer_table() -> str:
    """What was ahead, over 1,000,000 steps, less the comparison's runs with the same seeds, with 95 % intervals."""
    rows = []
    for name in LONGER:
        for env_id in TASKS:
            seeds = [seed for seed in LONGER_SEEDS if STORE.has(Cell(env_id, name, seed))]
            groups = [
                [pd.read_csv(store.file(Cell(env_id, variant, seed), "csv"))["mean"] for seed in seeds]
                for store, variant in ((STORE, name), (COMPARISON, "sb3_trpo"))
            ]
            if seeds:
                of_runs = difference(*([run.mean() for run in group] for group in groups))
                final = difference(*([run.iloc[-1] for run in group] for group in groups))
                rows.append([name, env_id, str(len(seeds)), of_runs, final])
    return markdown.table(["", "task", "seeds", "mean over the run", "final return"], rows)


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=VARIANTS,
    seeds=(*SEEDS, *LONGER_SEEDS),
    included=lambda cell: cell.seed in SEEDS or cell.variant in LONGER,
    changeable=True,
    tables={"gains": table, "gains_longer": longer_table},
)
