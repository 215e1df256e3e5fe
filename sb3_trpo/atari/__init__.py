"""The paper's Atari experiment (section 8.2): its policy, its preprocessing and its factored actions, each usable by name.

``network`` is the convolutional policy, ``frames`` the preprocessing with images of any size, ``actions`` joystick and
button as separate choices.
"""

from sb3_trpo.atari.actions import FactoredActions
from sb3_trpo.atari.frames import PaperAtariWrapper
from sb3_trpo.atari.network import PaperCnn, PaperCnnPolicy

__all__ = ["FactoredActions", "PaperAtariWrapper", "PaperCnn", "PaperCnnPolicy"]
