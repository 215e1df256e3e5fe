"""RL Zoo with this package's TRPO: importing this package makes it RL Zoo's ``trpo``, to train as to tune, and its variants
``trpo_mask``, ``trpo_lstm`` and ``trpo_mask_lstm``.

RL Zoo's own scripts get it with ``--gym-packages sb3_trpo.zoo``; ``python -m sb3_trpo`` needs no such argument
(``command_line``; ``model_scripts`` and ``plot_scripts`` are the scripts, ``resuming`` is ``train --resume``, and
``rank_options`` is for several processes). ``search_space`` is what Optuna draws settings from, ``best_settings`` what it
finds, as a file, ``experiment`` RL Zoo's experiment with what a vine needs and an evaluation at the end, ``masked_play``
asks for masks where RL Zoo does not, and ``checks`` finds mistakes before RL Zoo does.
"""

import rl_zoo3
import rl_zoo3.exp_manager
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER

from sb3_trpo.trpo import TRPO
from sb3_trpo.variants import MaskableRecurrentTRPO, MaskableTRPO, RecurrentTRPO
from sb3_trpo.zoo.experiment import EvaluatedTrial, cloneable
from sb3_trpo.zoo.masked_play import PlayingEvalCallback
from sb3_trpo.zoo.search_space import (
    convert_recurrent_params,
    convert_trpo_params,
    sample_recurrent_params,
    sample_trpo_params,
)

__all__ = ["cloneable"]

rl_zoo3.ALGOS |= {
    "trpo": TRPO,
    "trpo_mask": MaskableTRPO,
    "trpo_lstm": RecurrentTRPO,
    "trpo_mask_lstm": MaskableRecurrentTRPO,
}
for _name in ("trpo", "trpo_mask"):
    HYPERPARAMS_SAMPLER[_name], HYPERPARAMS_CONVERTER[_name] = sample_trpo_params, convert_trpo_params
for _name in ("trpo_lstm", "trpo_mask_lstm"):
    HYPERPARAMS_SAMPLER[_name], HYPERPARAMS_CONVERTER[_name] = sample_recurrent_params, convert_recurrent_params
rl_zoo3.exp_manager.EvalCallback = PlayingEvalCallback  # type: ignore[misc, assignment]
rl_zoo3.exp_manager.TrialEvalCallback = EvaluatedTrial  # type: ignore[misc]
