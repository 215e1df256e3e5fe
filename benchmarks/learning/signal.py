"""How much of the improvement that a step promises is found on samples that it was not made of.

The environments of a rollout follow one policy with independent noise, so each half of them gives an estimate of the same
gradient. The natural gradient s of one half is made as long as the trust region allows, ½ sᵀFs = δ. With the half's own
gradient g it promises an improvement of gᵀs; the other half's gradient says, on average, how much of it there is. Training is
not changed.
"""

import math

import pandas as pd
import torch as th

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.training import Plan, settings_for, train
from benchmarks.learning.mujoco import TASKS
from sb3_trpo import TRPO
from sb3_trpo.trust_region import conjugate_gradient
from sb3_trpo.update import PolicyObjective, Step, StepOptions, policy_step

STORE = Runs("signal")
STEPS, SEEDS = 300_000, (301, 302, 303)


class Halves:
    """TRPO's step, and what the halves of each rollout say of one another's: ``rows``, one for each update."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def find_step(self, model: TRPO, objective: PolicyObjective) -> Step:
        """In place of TRPO's own."""
        options = StepOptions.of(model)
        fisher, undamped = objective.fisher(options.cg_damping), objective.fisher(0.0)
        gradients = [_gradient(objective, model.n_envs, half) for half in (0, 1)]
        promised = kept = 0.0
        for own, other in (gradients, gradients[::-1]):
            x = conjugate_gradient(fisher.product, own, options.cg_max_steps).x
            size = math.sqrt(2.0 * options.target_kl / undamped.quadratic_form(x))
            promised += size * float(own @ x) / 2.0
            kept += size * float(other @ x) / 2.0
        self.rows.append({"steps": model.num_timesteps, "promised": round(promised, 5), "kept": round(kept, 5)})
        return policy_step(objective, options, model._ranks)


def _gradient(objective: PolicyObjective, n_envs: int, half: int) -> th.Tensor:
    """Of the surrogate, by the samples of every second environment."""
    batch = objective.batch
    mine = th.arange(len(batch)) % n_envs % 2 == half
    linearization, distribution = objective.actor.linearize(batch.observations)
    log_prob = distribution.log_prob(batch.actions)
    return linearization.gradient((log_prob * batch.advantages)[mine].mean(), keep=False)


def run(cell: Cell) -> Run:
    halves = Halves()
    settings = {**settings_for("sb3_trpo", cell.task), **cell.changes}

    def find_step(model: TRPO, objective: PolicyObjective) -> Step:  # a function: it becomes a method of the model's class
        return halves.find_step(model, objective)

    train(Plan("sb3_trpo", cell.task, settings, STEPS, cell.seed, every=STEPS, methods={"_find_step": find_step}))
    return Run(halves.rows, {"settings": settings, "seed": cell.seed})


def table() -> str:
    """Means over the updates of all runs; the share with its standard error.

    A gradient is signal and noise, g = u + e, and the halves' e are independent. In the norm of F⁻¹ the promise is ‖g‖ times
    the length of the step and what is found ‖u‖² / ‖g‖ times it. So a step without noise, as long, gains √(promised / found)
    times as much.
    """
    rows = []
    for env_id in TASKS:
        frames = STORE.frames(env_id, "")
        if frames:
            together = pd.concat(frames)
            promised, kept = together["promised"].mean(), together["kept"].mean()
            error = together["kept"].std() / math.sqrt(len(together)) / promised
            times = math.sqrt(promised / kept) if kept > 0.0 else math.nan
            cells = (f"{promised:.3f}", f"{kept:.4f}", f"{kept / promised:.1%} ± {error:.1%}", f"{times:.0f}")
            rows.append([env_id, str(len(together)), *cells])
    head = ["", "updates", "promised", "found on the other half", "share", "gain without noise, over what is found"]
    return markdown.table(head, rows)


STUDY = Study(run=run, store=STORE, tasks=TASKS, seeds=SEEDS, changeable=True, tables={"signal": table})
