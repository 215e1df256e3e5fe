"""TRPO with masks of actions and with memory, on sb3-contrib's policies: ``pip install "sb3_trpo[contrib]"``.

``maskable`` and ``recurrent`` have the algorithms; ``masks`` asks environments for masks, and the evaluators act on more than
observations.
"""

from sb3_trpo.variants.maskable import MaskableTRPO
from sb3_trpo.variants.recurrent import RecurrentTRPO

__all__ = ["MaskableTRPO", "RecurrentTRPO"]
