"""Search for a task's settings, TRPO's and PPO's: twenty trials or more, the bad ones cut short.

The first trial has the settings as they were before the search; PPO's are RL Zoo's. A trial's score is the mean of its
evaluations over the second half of its steps (five deterministic episodes every twentieth of them); Optuna's TPE chooses, its
median rule prunes. One lucky seed can make a trial the best, so the first trial and the best others are run again with fresh
seeds: five with one, the three best of these with a second, the two best of these with a third, and the best mean of three
wins. The study is a file in benchmarks/results/tuning, the repetitions are a CSV beside it, and an interrupted search goes on
from both.
"""

from typing import Any

import numpy as np
import optuna

from benchmarks.common import Cell, Study, markdown
from benchmarks.common.statistics import decimals
from benchmarks.common.training import Plan, settings_for, train
from benchmarks.learning.mujoco import METHODS, OTHER_TASKS
from benchmarks.learning.mujoco import TASKS as COMPARED
from benchmarks.learning.searched import (
    FRESH_SEEDS,
    add_repetition,
    file_of,
    found_settings,
    repetitions,
    storage_of,
    study_of,
    winner,
    with_drawn,
)
from benchmarks.learning.spaces import SPACES

TASKS = {  # env steps of a trial
    "CartPole-v1": 40_000,
    "Pendulum-v1": 100_000,
    "Acrobot-v1": 60_000,
    "MountainCarContinuous-v0": 50_000,
    "LunarLander-v3": 200_000,
    **dict.fromkeys(COMPARED + OTHER_TASKS, 300_000),
}
SEARCHED = {"sb3_trpo": set(TASKS), "ppo": set(COMPARED)}
TRIALS = {"Walker2d-v5": 26, "HalfCheetah-v5": 28}  # where they are not 20
EVALUATIONS = 20


def begun_study(algo: str, env_id: str) -> optuna.Study:
    """The search, as far as it has got, ready to go on."""
    file_of(algo, env_id, "log").parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=storage_of(algo, env_id),
        study_name=env_id,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=EVALUATIONS // 4),
        direction="maximize",
        load_if_exists=True,
    )
    # A search that goes on must not draw again what it began with
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), n_startup_trials=8, multivariate=True)
    return study


def score_of(algo: str, env_id: str, drawn: dict[str, Any], seed: int, trial: optuna.Trial | None = None) -> float:
    """Train with the settings that were drawn.

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

    train(Plan(algo, env_id, with_drawn(algo, env_id, drawn), steps, seed, every=steps // EVALUATIONS), report)
    return float(np.mean(scores[len(scores) // 2 :]))


def repeat_best(study: optuna.Study, algo: str, env_id: str) -> None:
    """Run the first trial and the best ones with fresh seeds, as far as that has not been done."""
    complete = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    standing = {trial.number: trial.values[0] for trial in complete}
    for seed, count in FRESH_SEEDS.items():
        best = sorted((number for number in standing if number), key=standing.__getitem__, reverse=True)[:count]
        done = repetitions(algo, env_id).query("seed == @seed")["trial"]
        for number in {0, *best} - {*done}:
            score = score_of(algo, env_id, SPACES[algo].convert(study.trials[number].params), seed)
            add_repetition(algo, env_id, number, seed, score)
        means = repetitions(algo, env_id).query("seed <= @seed").groupby("trial")["score"].mean()
        standing = {number: means[number] for number in (0, *best)}


def search(cell: Cell) -> None:
    """Make the trials and repetitions that are missing."""
    algo, env_id = cell.variant, cell.task
    space, study = SPACES[algo], begun_study(algo, env_id)
    if not study.trials:
        study.enqueue_trial(space.as_drawn(settings_for(algo, env_id)))
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    study.optimize(
        lambda trial: score_of(algo, env_id, space.draw(trial, env_id), trial.number, trial),
        n_trials=TRIALS.get(env_id, 20) - len(finished),
        catch=(ValueError,),
    )
    repeat_best(study, algo, env_id)
    print(repetitions(algo, env_id), found_settings(algo, env_id))


def _cell(scores: list[float]) -> str:
    digits = decimals(scores)
    return f"{np.mean(scores):.{digits}f} ({', '.join(f'{score:.{digits}f}' for score in scores)})"


def table() -> str:
    """What each search found: scores of the settings before it and of the winner, with fresh seeds."""
    rows = []
    for algo, tasks in SEARCHED.items():
        for env_id in filter(tasks.__contains__, TASKS):
            scores = repetitions(algo, env_id).groupby("trial")["score"].agg(list)
            if scores.empty:
                continue
            states = [trial.state for trial in study_of(algo, env_id).trials if trial.state.is_finished()]
            pruned = states.count(optuna.trial.TrialState.PRUNED)
            best = winner(algo, env_id)
            cells = [_cell(scores[0]), _cell(scores[best]) if best else "the same"]
            rows.append([env_id, METHODS[algo].label, str(len(states)), str(pruned), *cells])
    return markdown.table(["", "", "trials", "of these pruned", "as they were", "the winner"], rows)


STUDY = Study(
    run=search,
    store=None,
    tasks=TASKS,
    variants=SEARCHED,
    included=lambda cell: cell.task in SEARCHED[cell.variant],
    tables={"tuning": table},
)
