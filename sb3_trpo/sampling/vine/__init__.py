"""The vine (paper, section 5.2): branches from states of a rollout, under common random numbers.

``trunk`` chooses states and saves them as the rollout passes. ``collector`` tries ``first_actions`` there (``settings``: how
many). ``branches`` runs on from them in lock step, in ``envs``, under noise drawn beforehand, here or in other processes
(``workers``; ``outputs`` compares their policies). ``replay_check`` takes some branches again, to see whether all processes
simulate the same world, and ``surrogate`` says what the branches are worth.
"""

from sb3_trpo.sampling.vine.collector import Vine, VineBatch, make_vine
from sb3_trpo.sampling.vine.first_actions import FirstActions
from sb3_trpo.sampling.vine.settings import VineSettings
from sb3_trpo.sampling.vine.trunk import Trunk

__all__ = ["FirstActions", "Trunk", "Vine", "VineBatch", "VineSettings", "make_vine"]
