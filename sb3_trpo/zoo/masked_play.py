"""Masks where RL Zoo evaluates, plays and records models: its scripts do not ask for any."""

from collections.abc import Sequence
from typing import Any

import rl_zoo3.utils
from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_trpo.variants import MaskableEvalCallback, MaskableTRPO
from sb3_trpo.variants.evaluation import Player


def player(model: Any, env: Any) -> Any:
    """The model, which asks the environment for masks if it takes any.

    :param model: any
    :param env: where it will play
    """
    return Player(model, env) if isinstance(model, MaskableTRPO) else model


class PlayingEvalCallback(MaskableEvalCallback):
    """Stable-Baselines3's, which asks for masks if the model takes any."""

    def init_callback(self, model: BaseAlgorithm) -> None:
        """Begin with a model."""
        self.use_masking = isinstance(model, MaskableTRPO)
        super().init_callback(model)


class Loader:
    """What RL Zoo takes for an algorithm when it plays a model: loads one that plays in the environment made last."""

    def __init__(self, algorithm: Any, made: Sequence[Any]):
        self.algorithm, self.made = algorithm, made

    def load(self, *args: Any, **kwargs: Any) -> Any:
        return player(self.algorithm.load(*args, **kwargs), self.made[-1])


def let_scripts_ask_for_masks(*modules: Any) -> None:
    """Give RL Zoo's scripts models that ask for masks.

    :param modules: those that have imported RL Zoo's ``create_test_env`` already
    """
    make, made = rl_zoo3.utils.create_test_env, []

    def create(*args: Any, **kwargs: Any) -> Any:
        made.append(make(*args, **kwargs))
        return made[-1]

    for module in (rl_zoo3.utils, *modules):
        module.create_test_env = create
    for name, algorithm in rl_zoo3.ALGOS.items():
        if isinstance(algorithm, type) and issubclass(algorithm, MaskableTRPO):
            rl_zoo3.ALGOS[name] = Loader(algorithm, made)  # type: ignore[assignment]
