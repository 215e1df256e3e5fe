"""Search for a task's settings in the package's own Optuna space: twenty trials or more, the bad ones cut short.

The first trial has the task's settings as they were before the search. A trial's score is the mean of its evaluations over the
second half of its steps (five deterministic episodes every twentieth of them); Optuna's TPE chooses, its median rule prunes.
One lucky seed can make a trial the best, so the first trial and the best others are run again with fresh seeds: five with one,
the three best of these with a second, the two best of these with a third, and the best mean of three wins. The study is a file
in benchmarks/results/tuning, the repetitions are a CSV beside it, and an interrupted search goes on from both.
"""

import inspect
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pandas as pd
import torch as th
from optuna.storages.journal import JournalFileBackend, JournalStorage

from benchmarks.common import Cell, Study, markdown
from benchmarks.common.environment import results
from benchmarks.common.training import Plan, policy_kwargs_of, run, settings_for
from sb3_trpo import TRPO
from sb3_trpo.zoo.search_space import convert_trpo_params, sample_trpo_params

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
MEDIUM = {"pi": [256, 256], "vf": [256, 256]}  # RL Zoo's name for it
TRIALS = {"Walker2d-v5": 26, "HalfCheetah-v5": 28}  # where they are not 20
EVALUATIONS = 20
FRESH_SEEDS = {101: 5, 102: 3, 103: 2}  # and how many trials are run with each, beside the first one


def file_of(env_id: str, kind: str) -> Path:
    """The study itself is a ``log``, its repetitions a ``csv``."""
    return results("tuning", f"{env_id}.{kind}")


def storage_of(env_id: str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(file_of(env_id, "log"))))


def study_of(env_id: str) -> optuna.Study:
    """The task's study, as far as it has got."""
    file_of(env_id, "log").parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=storage_of(env_id),
        study_name=env_id,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=EVALUATIONS // 4),
        direction="maximize",
        load_if_exists=True,
    )
    # A search that goes on must not draw again what it began with
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), n_startup_trials=8, multivariate=True)
    return study


def as_drawn(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as the space has them; what they do not say is the constructor's default."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(TRPO).parameters.items()}
    settings = {**defaults, **settings}
    alike = ["target_kl", "cg_damping", "n_critic_updates", "cg_max_steps", "learning_rate"]
    alike += ["advantage_estimator", "normalize_advantage", "fisher_sample_fraction"]
    drawn = {name: settings[name] for name in alike}
    drawn |= {f"{name}_pow": round(math.log2(settings[name])) for name in ("n_steps", "batch_size")}
    drawn |= {f"one_minus_{name}": 1.0 - settings[name] for name in ("gamma", "gae_lambda")}
    network = policy_kwargs_of(settings)
    drawn |= {
        "net_arch": "medium" if network.get("net_arch") == MEDIUM else "small",
        "activation_fn": "relu" if network.get("activation_fn") is th.nn.ReLU else "tanh",
        "log_std_init": float(network.get("log_std_init", 0.0)),
    }
    return {"ent_coef": max(1e-8, settings["ent_coef"]), **drawn}


def drawn_by(trial: optuna.Trial, env_id: str) -> dict[str, Any]:
    """Settings that a trial draws."""
    space = gym.make(env_id).action_space
    n_actions = int(np.prod(space.shape)) if isinstance(space, gym.spaces.Box) else 0
    return sample_trpo_params(trial, n_actions, n_envs=0, additional_args={})


def score_of(settings: dict[str, Any], env_id: str, seed: int, trial: optuna.Trial | None = None) -> float:
    """Train with these settings and what the task needs besides, such as its environments.

    :raises optuna.TrialPruned: if the trial does worse than most others have at its stage
    """
    steps = TASKS[env_id]
    scores: list[float] = []

    def report(row: dict[str, float]) -> None:
        scores.append(row["mean"])
        if trial is not None:
            trial.report(row["mean"], len(scores))
            if trial.should_prune():
                raise optuna.TrialPruned

    settings = {**settings_for("sb3_trpo", env_id), **settings}
    run(Plan("sb3_trpo", env_id, settings, steps, seed, every=steps // EVALUATIONS), report)
    return float(np.mean(scores[len(scores) // 2 :]))


def repeat_best(study: optuna.Study, env_id: str) -> int:
    """Run the first trial and the best ones with fresh seeds, as far as that has not been done, and return the winner."""
    path = file_of(env_id, "csv")
    if not path.exists():
        path.write_text("trial,seed,score\n")
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    standing = {trial.number: trial.values[0] for trial in complete}
    for seed, count in FRESH_SEEDS.items():
        best = sorted((number for number in standing if number), key=standing.__getitem__, reverse=True)[:count]
        found = pd.read_csv(path)
        for number in (0, *best):
            if not ((found["trial"] == number) & (found["seed"] == seed)).any():
                score = score_of(convert_trpo_params(study.trials[number].params), env_id, seed)
                with path.open("a") as file:
                    file.write(f"{number},{seed},{score:.3f}\n")
        means = pd.read_csv(path).query("seed <= @seed").groupby("trial")["score"].mean()
        standing = {number: means[number] for number in (0, *best)}
    return max(standing, key=standing.__getitem__)


def search(cell: Cell) -> None:
    """Make the trials and repetitions that are missing."""
    study = study_of(cell.task)
    if not study.trials:
        study.enqueue_trial(as_drawn(settings_for("sb3_trpo", cell.task)))
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    study.optimize(
        lambda trial: score_of(drawn_by(trial, cell.task), cell.task, trial.number, trial),
        n_trials=TRIALS.get(cell.task, 20) - len(finished),
        catch=(ValueError,),
    )
    winner = repeat_best(study, cell.task)
    print(pd.read_csv(file_of(cell.task, "csv")).groupby("trial")["score"].mean(), winner, study.trials[winner].params)


def table() -> str:
    """What each search found: scores of the settings before it and of the winner, with fresh seeds."""
    rows = []
    for env_id in TASKS:
        path = file_of(env_id, "csv")
        if not path.exists():
            continue
        study = optuna.load_study(study_name=env_id, storage=storage_of(env_id))
        states = [trial.state for trial in study.trials if trial.state.is_finished()]
        scores = pd.read_csv(path).groupby("trial")["score"].agg(list)
        most = scores[scores.map(len) == scores.map(len).max()]  # those that were repeated to the end
        winner = most.map(np.mean).idxmax()
        cells = [f"{np.mean(scores[number]):.0f} ({', '.join(f'{s:.0f}' for s in scores[number])})" for number in (0, winner)]
        pruned = states.count(optuna.trial.TrialState.PRUNED)
        rows.append([env_id, str(len(states)), str(pruned), cells[0], cells[1] if winner else "the same"])
    return markdown.table(["", "trials", "of these pruned", "as they were", "the winner"], rows)


STUDY = Study(run=search, store=None, tasks=TASKS, tables={"tuning": table})
