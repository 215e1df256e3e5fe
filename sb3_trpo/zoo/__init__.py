"""RL Zoo with this package's TRPO: importing this package makes it RL Zoo's ``trpo``, to train as to tune.

RL Zoo's own scripts get it with ``--gym-packages sb3_trpo.zoo``; ``python -m sb3_trpo`` needs no such argument
(``command_line``). ``search_space`` is what Optuna draws settings from, ``experiment`` RL Zoo's experiment with what a vine
needs and an evaluation at the end, ``checks`` finds mistakes before RL Zoo does, and ``pictures`` saves what RL Zoo plots.
"""

import rl_zoo3
import rl_zoo3.exp_manager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER

from sb3_trpo.trpo import TRPO
from sb3_trpo.zoo.experiment import EvaluatedTrial, cloneable
from sb3_trpo.zoo.search_space import convert_trpo_params, sample_trpo_params

__all__ = ["cloneable"]

rl_zoo3.ALGOS["trpo"] = TRPO
HYPERPARAMS_SAMPLER["trpo"] = sample_trpo_params
HYPERPARAMS_CONVERTER["trpo"] = convert_trpo_params
rl_zoo3.exp_manager.TrialEvalCallback = EvaluatedTrial  # type: ignore[misc]
