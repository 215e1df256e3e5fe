"""The policy's step and the critic's fit on identical data, sb3-contrib's time over ours.

    python -m benchmarks.update_speed

The policy's step is ``train()`` without the critic: gradient, 15 conjugate-gradient iterations, line search; both
algorithms in turn on the same policy and rollout, medians of the ratios with the range of single ones. Improvement at
equal KL is the surrogate's gain along each method's step, shortened or lengthened to a mean joint KL of 0.005 nats,
relative to sb3-contrib's.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from benchmarks.batches import Pair, frames_pair, give, mujoco_pair, silence
from benchmarks.environment import RESULTS, describe
from sb3_trpo.objective import Batch, SinglePathObjective
from sb3_trpo.policy import Actor
from sb3_trpo.rollouts import Samples

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
    objective = SinglePathObjective(actor, Batch.from_samples(samples, 1, True), 0.0)
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
    return {
        "ratio": float(np.median(ratios)),
        "low": min(ratios),
        "high": max(ratios),
        "our_milliseconds": 1e3 * float(np.median(seconds)),
        "improvement": float(np.median(gains)),
    }


def policy_steps() -> list[dict[str, Any]]:
    rows = []
    for name, (make, arguments, repeats) in CASES.items():
        source, pair = make(*arguments)
        for model in pair:
            silence(model).n_critic_updates = 0
        for fraction in (1.0, 0.1):
            pair[1].fisher_sample_fraction = fraction
            rows.append({"case": name, "fisher": fraction, **compare(source, pair, repeats)})
            print(rows[-1], flush=True)
    return rows


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
    return {
        "ratio": float(np.median(ratios)),
        "low": min(ratios),
        "high": max(ratios),
        "relative_loss_difference": abs(losses[1] / losses[0] - 1.0),
    }


def table(rows: list[dict[str, Any]], critic: dict[str, Any]) -> str:
    lines = [
        "| update on identical data | Fisher on | times faster than sb3-contrib | improvement at equal KL |",
        "|---|---|---|---|",
    ]
    for row in rows:
        speed = f"**{row['ratio']:.1f}** ({row['low']:.1f}–{row['high']:.1f})"
        lines.append(f"| {row['case']} | {row['fisher']:.0%} of states | {speed} | {row['improvement']:.2f} |")
    speed = f"**{critic['ratio']:.0f}** ({critic['low']:.0f}–{critic['high']:.0f})"
    lines.append(f"| critic alone, 512 frames, shared NatureCNN | | {speed} | |")
    return "\n".join(lines)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.simplefilter("ignore")  # sb3-contrib takes the mean of an empty list when there is no critic to fit
    th.set_num_threads(1)
    rows, critic = policy_steps(), critic_fit()
    print(critic)
    (RESULTS / "speed").mkdir(parents=True, exist_ok=True)
    result = {**describe(), "rows": rows, "critic": critic, "table": table(rows, critic)}
    (RESULTS / "speed" / "update_speed.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
