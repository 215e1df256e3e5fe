"""What the searches for settings have found: their files, their winners, and the winners' settings."""

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.storages.journal import JournalFileBackend, JournalStorage

from benchmarks.common.environment import results
from benchmarks.common.training import policy_kwargs_of, settings_for
from benchmarks.learning.mujoco import METHODS
from benchmarks.learning.spaces import SPACES
from sb3_trpo.zoo.best_settings import as_code

FRESH_SEEDS = {101: 5, 102: 3, 103: 2}  # and how many trials are run with each, beside the first one


def file_of(algo: str, env_id: str, kind: str) -> Path:
    """The study itself is a ``log``, its repetitions a ``csv``."""
    return results("tuning", algo, f"{env_id}.{kind}")


def storage_of(algo: str, env_id: str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(file_of(algo, env_id, "log"))))


def study_of(algo: str, env_id: str) -> optuna.Study:
    """A search as its file has it."""
    return optuna.load_study(study_name=env_id, storage=storage_of(algo, env_id))


def repetitions(algo: str, env_id: str) -> pd.DataFrame:
    """``trial``, ``seed`` and ``score`` of every run with a fresh seed."""
    path = file_of(algo, env_id, "csv")
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["trial", "seed", "score"])


def add_repetition(algo: str, env_id: str, trial: int, seed: int, score: float) -> None:
    path = file_of(algo, env_id, "csv")
    row = pd.DataFrame({"trial": [trial], "seed": [seed], "score": [round(score, 3)]})
    row.to_csv(path, mode="a", header=not path.exists(), index=False)


def is_over(algo: str, env_id: str) -> bool:
    """Whether the first trial and the best ones have all their repetitions."""
    last = max(FRESH_SEEDS)
    return (repetitions(algo, env_id)["seed"] == last).sum() > FRESH_SEEDS[last]


def winner(algo: str, env_id: str) -> int:
    """The trial with the best mean of those that were repeated most; 0 is the settings before the search."""
    scores = repetitions(algo, env_id).groupby("trial")["score"].agg(["count", "mean"])
    return int(scores.loc[scores["count"] == scores["count"].max(), "mean"].idxmax())


def with_drawn(algo: str, env_id: str, drawn: dict[str, Any]) -> dict[str, Any]:
    """The task's settings with the ones that were drawn in their place; the others, such as environments, stay."""
    before = settings_for(algo, env_id)
    return {**before, **drawn, "policy_kwargs": {**policy_kwargs_of(before), **drawn["policy_kwargs"]}}


def found_settings(algo: str, env_id: str) -> dict[str, Any]:
    """The winner's, as RL Zoo's files have them."""
    trial = study_of(algo, env_id).trials[winner(algo, env_id)]
    settings = with_drawn(algo, env_id, SPACES[algo].convert(trial.params))
    return {**settings, "policy_kwargs": as_code(settings["policy_kwargs"])}


def has_settings(method: str, env_id: str) -> bool:
    """Whether one of the comparison's methods can run on a task: a search must be over."""
    return not METHODS[method].searched or is_over(METHODS[method].algo, env_id)


def same_as(method: str, env_id: str) -> str:
    """The method whose runs count for this one: where a search has kept the settings before it, there is nothing to run."""
    algo, searched = METHODS[method].algo, METHODS[method].searched
    return algo if searched and is_over(algo, env_id) and winner(algo, env_id) == 0 else method


def seeds_of(method: str, env_id: str) -> int:
    """How many runs a method has on a task: those of the methods whose runs are its, too."""
    return max((each.seeds for name, each in METHODS.items() if same_as(name, env_id) == method), default=0)


def settings_of(method: str, env_id: str) -> dict[str, Any]:
    """With which it runs."""
    algo = METHODS[method].algo
    return found_settings(algo, env_id) if METHODS[method].searched else settings_for(algo, env_id)
