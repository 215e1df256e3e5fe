"""TRPO with masks of actions and with memory, on sb3-contrib's policies: ``pip install "sb3_trpo[contrib]"``.

``maskable``, ``recurrent`` and ``maskable_recurrent`` have the algorithms, and ``policies`` what sb3-contrib has not;
``evaluation`` is for both at once. ``masked_evaluators`` and ``recurrent_evaluator`` act on more than observations, and
``refusals`` says what does not go together.
"""

from sb3_trpo.variants.evaluation import MaskableEvalCallback, evaluate_policy
from sb3_trpo.variants.maskable import MaskableTRPO
from sb3_trpo.variants.maskable_recurrent import MaskableRecurrentTRPO
from sb3_trpo.variants.policies import MaskableRecurrentActorCriticPolicy
from sb3_trpo.variants.recurrent import RecurrentTRPO

__all__ = [
    "MaskableEvalCallback",
    "MaskableRecurrentActorCriticPolicy",
    "MaskableRecurrentTRPO",
    "MaskableTRPO",
    "RecurrentTRPO",
    "evaluate_policy",
]
