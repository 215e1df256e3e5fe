"""The policy's step and the critic's fit on identical data, sb3-contrib's time over ours.

The policy's step is ``train()`` without the critic: gradient, 15 conjugate-gradient iterations, line search; both
algorithms in turn on the same policy and rollout, medians of the ratios with the range of single ones. Improvement at
equal KL is the surrogate's gain along each method's step, shortened or lengthened to a mean joint KL of 0.005 nats,
relative to sb3-contrib's.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import spread
from benchmarks.speed.batches import Pair, frames_pair, give, mujoco_pair, silence
from sb3_trpo.policy import Actor
from sb3_trpo.sampling import Batch, ImportanceSampled, Samples
from sb3_trpo.update import PolicyObjective

STORE = Rows("speed/update_speed")
CRITIC = "critic alone, 512 frames, shared NatureCNN"
FISHER = {"Fisher on all states": 1.0, "Fisher on a tenth": 0.1}
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {
    "Hopper, 2,048 steps": (mujoco_pair, ("Hopper-v5", 2048, 30), 15),
    "Humanoid, 2,048 steps": (mujoco_pair, ("Humanoid-v5", 2048, 12), 11),
    "Hopper, 16,384 steps": (mujoco_pair, ("Hopper-v5", 16384, 2), 7),
    "NatureCNN, 512 frames": (frames_pair, (512,), 3),
}


def timed(model: OnPolicyAlgorithm, source: OnPolicyAlgorithm) -> tuple[float, th.Tensor]:
    """Seconds of one ``train()`` from the source's policy and rollout, and the change of the parameters."""
    give(model, source)
    before = parameters_to_vector(model.policy.parameters()).detach().clone()
    begin = time.perf_counter()
    model.train()
    seconds = time.perf_counter() - begin
    return seconds, parameters_to_vector(model.policy.parameters()).detach() - before


def improvement(source: OnPolicyAlgorithm, change: th.Tensor, kl: float = 0.005) -> float:
    """Gain of the surrogate where the line through a step crosses a given mean KL (bisection)."""
    start = parameters_to_vector(source.policy.parameters()).detach().clone()
    samples = Samples.from_buffer(source.rollout_buffer)
    source.policy.set_training_mode(False)
    actor = Actor(source.policy, samples.observations)
    batch = Batch.from_samples(samples, 1, True)
    objective = PolicyObjective(actor, batch, ImportanceSampled(batch), 0.0)
    own = actor.theta
    vector_to_parameters(start + change, source.policy.parameters())
    step = actor.theta - own
    vector_to_parameters(start, source.policy.parameters())
    low, high = 0.0, 4.0
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if float(objective.evaluate(own + middle * step).kl.mean()) < kl else (low, middle)
    return objective.evaluate(own + low * step).surrogate - objective.start.surrogate


def compare(source: OnPolicyAlgorithm, pair: Pair, repeats: int) -> dict[str, float]:
    """Ratios of sb3-contrib's time to ours, in turn, and of the improvements at equal KL."""
    ratios, gains, seconds = [], [], []
    for repeat in range(repeats + 1):
        (theirs, their_change), (ours, our_change) = (timed(model, source) for model in pair)
        if repeat:  # the first is a warm-up
            ratios.append(theirs / ours)
            seconds.append(ours)
            gains.append(improvement(source, our_change) / improvement(source, their_change))
    improvements = {"our_milliseconds": 1e3 * float(np.median(seconds)), "improvement": float(np.median(gains))}
    return {**spread(ratios), **improvements}


@cache
def silent_pair(case: str) -> tuple[OnPolicyAlgorithm, Pair]:
    """A source and two models that fit no critic; made once, because the source has to learn before."""
    make, arguments, _ = CASES[case]
    source, pair = make(*arguments)
    for model in pair:
        silence(model).n_critic_updates = 0
    return source, pair


def critic_fit() -> dict[str, Any]:
    """A fit of ten passes over 512 frames with a shared NatureCNN; the losses from whole-batch passes, whose order is moot."""
    source, pair = frames_pair(512)
    for model in pair:
        silence(model)
        model.cg_max_steps = model.line_search_max_iter = 1  # the policy's step is subtracted: make it small
    ratios, losses = [], []
    for repeat in range(4):
        seconds = []
        for model in pair:
            times = []
            for n_updates in (0, 10):
                model.n_critic_updates = n_updates
                times.append(timed(model, source)[0])
            seconds.append(times[1] - times[0])
        if repeat:
            ratios.append(seconds[0] / seconds[1])
    for model in pair:
        model.batch_size = 512
        model.policy.optimizer.state.clear()
        timed(model, source)
        losses.append(float(model.logger.name_to_value["train/value_loss"]))
    return {**spread(ratios), "relative_loss_difference": abs(losses[1] / losses[0] - 1.0)}


def measure(cell: Cell) -> dict[str, Any]:
    if cell.task == CRITIC:
        return critic_fit()
    source, pair = silent_pair(cell.task)
    pair[1].fisher_sample_fraction = FISHER[cell.variant]
    return compare(source, pair, CASES[cell.task][2])


def table() -> str:
    rows = []
    for row in STORE.rows():
        if row["task"] == CRITIC:
            rows.append([row["task"], "", markdown.ratio(row, 0), ""])
        else:
            share = f"{FISHER[row['variant']]:.0%} of states"
            rows.append([row["task"], share, markdown.ratio(row), f"{row['improvement']:.2f}"])
    head = ["update on identical data", "Fisher on", "times faster than sb3-contrib", "improvement at equal KL"]
    return markdown.table(head, rows)


STUDY = Study(
    run=measure,
    store=STORE,
    tasks=(*CASES, CRITIC),
    variants=(*FISHER, "fit"),
    included=lambda cell: (cell.variant == "fit") == (cell.task == CRITIC),
    alternated=True,
    tables={"update_speed": table},
)
