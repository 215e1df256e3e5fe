"""Search for a task's settings in the package's own Optuna space: twenty trials or more, the bad ones cut short.

    python -m benchmarks.tuning --env HalfCheetah-v5

The first trial has the task's present settings. A trial's score is the mean of its evaluations over the second half of its
steps (five deterministic episodes every twentieth of them); Optuna's TPE chooses, its median rule prunes. The study is a file
in benchmarks/results/tuning, from which an interrupted search goes on.
"""

import argparse
import math
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import torch as th
from optuna.storages.journal import JournalFileBackend, JournalStorage

from benchmarks.environment import RESULTS
from benchmarks.training import Plan, run, settings_for
from sb3_trpo.zoo.search_space import sample_trpo_params

FOLDER = RESULTS / "tuning"
TASKS = {  # env steps of a trial
    "CartPole-v1": 40_000,
    "Pendulum-v1": 100_000,
    "Acrobot-v1": 60_000,
    "MountainCarContinuous-v0": 50_000,
    "LunarLander-v3": 200_000,
    "Swimmer-v5": 300_000,
    "Hopper-v5": 300_000,
    "Walker2d-v5": 300_000,
    "HalfCheetah-v5": 300_000,
}
TRIALS = 20
EVALUATIONS = 20


def study_of(env_id: str) -> optuna.Study:
    """The task's study, as far as it has got."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(FOLDER / f"{env_id}.log"))),
        study_name=env_id,
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=8, multivariate=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=EVALUATIONS // 4),
        direction="maximize",
        load_if_exists=True,
    )


def as_drawn(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as the space has them, as far as it does."""
    alike = ("target_kl", "cg_damping", "n_critic_updates", "cg_max_steps", "learning_rate")
    drawn = {name: settings[name] for name in alike if name in settings}
    drawn |= {f"{name}_pow": round(math.log2(settings[name])) for name in ("n_steps", "batch_size") if name in settings}
    drawn |= {f"one_minus_{name}": 1.0 - settings[name] for name in ("gamma", "gae_lambda") if name in settings}
    usual = {"advantage_estimator": "gae", "normalize_advantage": True, "fisher_sample_fraction": 1.0}
    network = {"net_arch": "small", "activation_fn": "tanh"}
    return {**usual, **network, "ent_coef": 1e-8, "learning_rate": 1e-3, **drawn}


def score_of(trial: optuna.Trial, env_id: str) -> float:
    """Train with the settings a trial has drawn.

    :raises optuna.TrialPruned: if it does worse than most others have at its stage
    """
    base = settings_for("sb3_trpo", env_id)
    space = gym.make(env_id).action_space
    n_actions = int(np.prod(space.shape)) if isinstance(space, gym.spaces.Box) else 0
    settings = {**base, **sample_trpo_params(trial, n_actions, base.get("n_envs", 1), {})}
    steps = TASKS[env_id]
    scores: list[float] = []

    def report(row: dict[str, float]) -> None:
        scores.append(row["mean"])
        trial.report(row["mean"], len(scores))
        if trial.should_prune():
            raise optuna.TrialPruned

    run(Plan("sb3_trpo", env_id, settings, steps, seed=trial.number, every=steps // EVALUATIONS), report)
    return float(np.mean(scores[len(scores) // 2 :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=list(TASKS), required=True)
    parser.add_argument("--trials", type=int, default=TRIALS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    th.set_num_threads(1)
    study = study_of(args.env)
    if not study.trials:
        study.enqueue_trial(as_drawn(settings_for("sb3_trpo", args.env)))
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    study.optimize(lambda trial: score_of(trial, args.env), n_trials=args.trials - len(finished), catch=(ValueError,))
    print(study.best_trial.number, study.best_value, study.best_params)


if __name__ == "__main__":
    main()
