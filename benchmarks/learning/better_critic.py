"""How much more would a step find with a better critic?

A policy is trained, then no longer changed, and followed for many more rollouts. Critics are fitted to more and more of the
first of them. With each critic, every one of the last rollouts gives an estimate ĝ of one gradient, and a natural step
s ∝ (F + λI)⁻¹ ĝ of length sᵀFs = 1. The mean gradient g of the other last rollouts, with whole returns minus the best critic's
values, says how much improvement the step really finds: gᵀs. The critic changes the noise of this g, not its mean.
"""

from copy import deepcopy

import numpy as np
import pandas as pd
import torch as th

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.training import Plan, settings_for, train
from benchmarks.learning.mujoco import TASKS
from benchmarks.learning.replayed_rollouts import corrected_returns, going_on, normalization
from sb3_trpo import TRPO
from sb3_trpo.critic import fit_critic
from sb3_trpo.policy import Actor, values_of
from sb3_trpo.sampling import Samples
from sb3_trpo.trust_region import FisherMatrix, conjugate_gradient
from sb3_trpo.update import StepOptions

STORE = Runs("better_critic")
STEPS, SEEDS = 250_000, (401,)  # before the policy is held
FITTED, LAST = (4, 16, 100), 150  # rollouts that a critic is fitted to, and that the steps are made of
ROUNDS, PASSES, BATCH_SIZE = 5, 4, 128  # targets are computed anew before each round
LAMBDAS = (0.0, 0.5)  # beside the task's own
OWN = "its own"


class Held:
    """Trains until ``STEPS``, then only keeps the rollouts: observations ``[T + 1, N, …]``, others ``[T, N, …]``."""

    def __init__(self) -> None:
        self.parts: list[dict[str, np.ndarray]] = []
        self.model: TRPO | None = None

    def train(self, model: TRPO) -> None:
        """In place of TRPO's own."""
        if model.num_timesteps < STEPS:
            return TRPO.train(model)
        normalization(model).training = False
        buffer, self.model = model.rollout_buffer, model
        parts = {
            "observations": buffer.observations,
            "actions": buffer.actions,
            "rewards": buffer.rewards,
            "going_on": going_on(model, buffer),
        }
        self.parts.append({name: part.copy() for name, part in parts.items()})
        self.last = np.array(model._last_obs)[None]
        return None

    def joined(self, first: int, stop: int) -> dict[str, np.ndarray]:
        """These rollouts as one, which they are: the policy and its environments go on from one to the next."""
        own = {name: np.concatenate([part[name] for part in self.parts[first:stop]]) for name in self.parts[0]}
        after = self.parts[stop]["observations"][:1] if stop < len(self.parts) else self.last
        return {**own, "observations": np.concatenate([own["observations"], after])}


def advantages(
    model: TRPO, policy: th.nn.Module, data: dict[str, np.ndarray], gae_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """Â and the λ-returns ``[T, N]`` with this policy's critic."""
    observations = th.as_tensor(data["observations"])
    with th.no_grad():
        values = values_of(policy, observations.flatten(0, 1)).numpy().reshape(observations.shape[:2])  # type: ignore[arg-type]
    same = np.ones_like(data["rewards"])
    returns = corrected_returns(data["rewards"], values, data["going_on"], same, model.gamma, gae_lambda)
    return returns - values[:-1], returns


def fitted(model: TRPO, data: dict[str, np.ndarray]) -> th.nn.Module:
    """The policy with its critic fitted further, to these steps, at a learning rate that falls."""
    policy = deepcopy(model.policy)
    observations = th.as_tensor(data["observations"][:-1]).flatten(0, 1)
    nothing = th.zeros(len(observations))
    for number in range(ROUNDS):
        for group in policy.optimizer.param_groups:
            group["lr"] = model.policy.optimizer.param_groups[0]["lr"] * (1.0 - number / ROUNDS)
        targets = th.as_tensor(advantages(model, policy, data, model.gae_lambda)[1].astype(np.float32)).flatten()
        samples = Samples(observations, nothing, nothing, nothing, targets)
        fit_critic(Actor(policy, observations[:1]), samples, PASSES, BATCH_SIZE)
    return policy


def steps_and_gradients(model: TRPO, data: dict[str, np.ndarray], estimates: list[np.ndarray]) -> tuple[th.Tensor, th.Tensor]:
    """For each of the rollouts and each estimate of advantages ``[T, N]``: step and gradient ``[rollouts, estimates, N]``."""
    steps, gradients, options = [], [], StepOptions.of(model)
    whole = [(estimate - estimate.mean()) / estimate.std() for estimate in estimates]
    for first in range(0, len(data["rewards"]), model.n_steps):
        rows = slice(first, first + model.n_steps)
        observations = th.as_tensor(data["observations"][rows]).flatten(0, 1)
        actions = th.as_tensor(data["actions"][rows]).flatten(0, 1)
        actor = Actor(model.policy, observations)
        damped, undamped = (_fisher(actor, observations, damping) for damping in (options.cg_damping, 0.0))
        of_rollout = [_gradient(actor, observations, actions, each[rows]) for each in whole]
        directions = [conjugate_gradient(damped.product, gradient, options.cg_max_steps).x for gradient in of_rollout]
        steps.append(th.stack([each / undamped.quadratic_form(each) ** 0.5 for each in directions]))
        gradients.append(th.stack(of_rollout))
    return th.stack(steps), th.stack(gradients)


def _fisher(actor: Actor, observations: th.Tensor, damping: float) -> FisherMatrix:
    return FisherMatrix([lambda: actor.linearize(observations)[0]], actor.family, damping)


def _gradient(actor: Actor, observations: th.Tensor, actions: th.Tensor, estimate: np.ndarray) -> th.Tensor:
    linearization, distribution = actor.linearize(observations)
    weights = th.as_tensor(estimate.astype(np.float32)).flatten()
    return linearization.gradient((distribution.log_prob(actions) * weights).mean(), keep=False)


def run(cell: Cell) -> Run:
    settings = {**settings_for("sb3_trpo", cell.task), **cell.changes}
    held = Held()

    def hold(model: TRPO) -> None:  # a function, because it becomes a method of the model's class
        held.train(model)

    rollouts = FITTED[-1] + LAST
    steps = STEPS + (rollouts + 1) * settings["n_steps"] * settings["n_envs"]
    train(Plan("sb3_trpo", cell.task, settings, steps, cell.seed, every=steps, methods={"train": hold}))
    model = held.model
    assert model is not None and len(held.parts) >= rollouts
    last = held.joined(FITTED[-1], rollouts)
    policies = {OWN: model.policy, **{str(n): fitted(model, held.joined(FITTED[-1] - n, FITTED[-1])) for n in FITTED}}
    lambdas = (*LAMBDAS, model.gae_lambda)
    names = [f"{critic}, {gae_lambda}" for critic in policies for gae_lambda in lambdas]
    estimates = [advantages(model, policy, last, gae_lambda)[0] for policy in policies.values() for gae_lambda in lambdas]
    whole = advantages(model, policies[str(FITTED[-1])], last, 1.0)[0]
    made, gradients = steps_and_gradients(model, last, [*estimates, whole])
    others = (gradients[:, -1].sum(dim=0) - gradients[:, -1]) / (LAST - 1)
    found = th.einsum("rek,rk->re", made[:, :-1], others)
    rows = [dict(zip(names, (round(float(each), 6) for each in row), strict=True)) for row in found]
    return Run(rows, {"settings": settings, "seed": cell.seed, "gae_lambda": model.gae_lambda})


def table() -> str:
    """What a step finds, over what it finds with the policy's own critic and λ; with the standard error over rollouts."""
    rows = []
    for env_id in TASKS:
        for frame in STORE.frames(env_id, ""):
            lambdas = [name.split(", ")[1] for name in frame.columns if name.startswith(OWN)]
            for gae_lambda in lambdas:
                cells = [
                    _over(frame[f"{critic}, {gae_lambda}"], frame[f"{OWN}, {lambdas[-1]}"])
                    for critic in (OWN, *map(str, FITTED))
                ]
                rows.append([env_id, gae_lambda, *cells])
    return markdown.table(["", "λ", OWN, *(f"{n} rollouts" for n in FITTED)], rows)


def _over(found: pd.Series, of_own: pd.Series) -> str:
    ratio = found.mean() / of_own.mean()
    error = (found - ratio * of_own).std() / len(found) ** 0.5 / abs(of_own.mean())
    return f"{ratio:.2f} ± {error:.2f}"


STUDY = Study(run=run, store=STORE, tasks=TASKS, seeds=SEEDS, changeable=True, tables={"better_critic": table})
