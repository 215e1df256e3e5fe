"""What a search for hyperparameters ends with: the best trial's settings as a file that ``train`` reads."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import yaml

from sb3_trpo.zoo.search_space import sampled_settings


def best_settings(study: optuna.Study, given: Mapping[str, Any]) -> dict[str, Any]:
    """A best trial's settings, in the format of RL Zoo's files.

    :param study: with at least one completed trial
    :param given: the settings that the search began with, as they were read from a file
    """
    settings = {**given, **sampled_settings(study.best_trial.params, given.get("vine_kwargs"))}
    settings["policy_kwargs"] = as_code(settings["policy_kwargs"])
    return settings


def as_code(policy_kwargs: Mapping[str, Any]) -> str:
    """As RL Zoo evaluates it, which knows PyTorch's modules as ``nn``."""
    parts = {name: f"nn.{value.__name__}" if isinstance(value, type) else repr(value) for name, value in policy_kwargs.items()}
    return f"dict({', '.join(f'{name}={value}' for name, value in parts.items())})"


def save_best_settings(study: optuna.Study, given: Mapping[str, Any], env_id: str, folder: Path) -> tuple[Path, str]:
    """Write them into a file.

    :param study: with at least one completed trial
    :param given: the settings that the search began with
    :param env_id: name of the settings in the file
    :param folder: is made if it is not there
    :return: the file and what is in it
    """
    text = yaml.safe_dump({env_id: best_settings(study, given)}, sort_keys=False, width=120)
    folder.mkdir(parents=True, exist_ok=True)
    names = (folder / f"{env_id.replace('/', '-')}_best_{number}.yml" for number in count(1))
    path = next(path for path in names if not path.exists())
    path.write_text(
        f"# Trial {study.best_trial.number} of {len(study.trials)}: {study.best_value:g}\n{text}", encoding="utf-8"
    )
    return path, text
