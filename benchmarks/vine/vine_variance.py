"""How much common random numbers quieten the comparison of two actions.

In each of 500 states, two actions a₁, a₂ drawn from the policy are compared sixteen times: the variance of
Q̂(s,a₁) − Q̂(s,a₂) over the sixteen, with noise of their own for both branches over the same noise for both. Branches of 50
steps, no critic, γ = 0.99; the policy untrained and after 300,000 single-path steps with the settings of trpo.yml. Ratios
of the mean variances with 95 % bootstrap intervals over states, and medians of the states' own ratios. A seed is that of the
policy and of everything else.
"""

from copy import deepcopy
from typing import Any

import numpy as np
import torch as th
from scipy.stats import bootstrap

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.training import make_model, settings_for
from sb3_trpo import TRPO
from sb3_trpo.policy import actions_from_noise, draw_noise
from sb3_trpo.sampling.vine.branches import Branch, BranchRules, run_branches
from sb3_trpo.sampling.vine.envs import BranchEnvs, branch_template
from sb3_trpo.simulators import copy_env
from sb3_trpo.vec_env import WrapperStages
from sb3_trpo.vec_env.rows import clone_rows

ENVS = ("Hopper-v5", "Swimmer-v5", "Walker2d-v5")
TRAINING, STATES, PAIRS, LENGTH, ROWS = 300_000, 500, 16, 50, 64
STORE = Rows("vine/vine_variance")
POLICIES = {f"after {TRAINING:,} steps": TRAINING, "untrained": 0}


def differences(env_id: str, training: int, seed: int) -> dict[str, np.ndarray]:
    """Q̂(s,a₁) − Q̂(s,a₂) with noise of their own and in common ``[states, pairs]``."""
    settings = settings_for("sb3_trpo", env_id)
    model = make_model(TRPO, env_id, settings, seed)
    untrained = deepcopy(model.policy.state_dict())
    model.learn(max(1, training))
    if not training:  # one rollout was for the running statistics
        model.policy.load_state_dict(untrained)
    env: Any = model.get_vec_normalize_env()
    env.training = env.norm_reward = False
    model.policy.set_training_mode(False)

    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(20 * STATES, STATES, replace=False).tolist())
    states, seen = [], []
    obs: Any = env.reset()
    with th.no_grad():
        for step in range(20 * STATES):
            if step in chosen:
                states += clone_rows(env, [0])
                seen.append(obs[0].copy())
            obs = env.step(model.predict(obs)[0])[0]
        observations = th.as_tensor(np.stack(seen))
        tried = [actions_from_noise(model.policy, observations, draw_noise(model.policy, rng, (STATES,))) for _ in range(2)]

    template = branch_template(env)
    envs = BranchEnvs([template, *(copy_env(template) for _ in range(ROWS - 1))], WrapperStages(env, ROWS))
    rules = BranchRules(LENGTH, 0.99, bootstrap=False, hold=1)
    found = {}
    for kind, streams in (("independent", 2), ("common", 1)):
        noise = draw_noise(model.policy, rng, (STATES, PAIRS, streams, LENGTH - 1))
        branches = [
            Branch(states[s], tried[k][s].numpy(), noise[s, pair, k % streams])
            for s in range(STATES)
            for pair in range(PAIRS)
            for k in range(2)
        ]
        returns = run_branches(model.policy, envs, branches, rules).returns.reshape(STATES, PAIRS, 2)
        found[kind] = returns[..., 0] - returns[..., 1]
    return found


def measure(cell: Cell) -> dict[str, float]:
    found = differences(cell.task, POLICIES[cell.variant], cell.seed)
    variances = {kind: values.var(axis=1, ddof=1) for kind, values in found.items()}
    independent, common = variances["independent"], variances["common"]

    def ratio(left: np.ndarray, right: np.ndarray, axis: int = -1) -> Any:
        return left.mean(axis=axis) / right.mean(axis=axis)

    interval = bootstrap((independent, common), ratio, paired=True, rng=np.random.default_rng(0)).confidence_interval
    positive = common > 0.0
    return {
        "ratio": float(ratio(independent, common)),
        "low": float(interval.low),
        "high": float(interval.high),
        "median": float(np.median(independent[positive] / common[positive])),
    }


def table() -> str:
    """A line for each task and policy, the seeds side by side."""
    rows = []
    for key in dict.fromkeys((row["task"], row["variant"]) for row in STORE.rows()):
        seeds = [row for row in STORE.rows() if (row["task"], row["variant"]) == key]
        ratios, medians = map(markdown.ratio, seeds), (f"{row['median']:.0f}" for row in seeds)
        rows.append([", policy ".join(key), " · ".join(ratios), " · ".join(medians)])
    head = ["variance of a comparison, independent / common noise", "ratio (95 %), each seed", "median over states"]
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=ENVS, variants=POLICIES, seeds=(0, 1, 2), tables={"vine_variance": table})
