"""Atari's actions in factors, as the paper has them (appendix D): joystick and button as separate choices."""

from itertools import product

import gymnasium as gym
import numpy as np
from gymnasium import spaces

HORIZONTAL = ("", "RIGHT", "LEFT")
VERTICAL = ("", "UP", "DOWN")
BUTTON = ("", "FIRE")


class FactoredActions(gym.ActionWrapper[np.ndarray, np.ndarray, int]):
    """``MultiDiscrete([3, 3, 2])``: horizontal (none, right, left), vertical (none, up, down), button (none, fire).

    The policy has 3 + 3 + 2 = 8 outputs in every game, which is what the paper's 33,500 parameters leave for them. A
    combination that the game does not know becomes the nearest one it knows: what is dropped first is the vertical part,
    then the button, then the horizontal part, then two of them.

    :param env: an Atari environment with its wrappers
    :raises ValueError: for an environment whose actions are not Atari's
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        meanings: list[str] = getattr(env.unwrapped, "get_action_meanings", list)()
        if "NOOP" not in meanings:
            raise ValueError(f"{env} has no joystick: FactoredActions is for Atari environments (ale_py).")
        known = {name: index for index, name in enumerate(meanings)}
        self.action_space = spaces.MultiDiscrete([len(HORIZONTAL), len(VERTICAL), len(BUTTON)])
        self._indices = tuple(_nearest(known, *parts) for parts in product(HORIZONTAL, VERTICAL, BUTTON))

    def action(self, action: np.ndarray) -> int:
        """
        :param action: ``[3]``, outcomes of horizontal, vertical and button
        :return: the game's action
        """
        horizontal, vertical, button = action
        return self._indices[(horizontal * len(VERTICAL) + vertical) * len(BUTTON) + button]


def _nearest(known: dict[str, int], horizontal: str, vertical: str, button: str) -> int:
    """Index of the action that keeps most of a combination; "NOOP" keeps nothing and is known everywhere."""
    candidates = (
        vertical + horizontal + button,
        horizontal + button,
        vertical + horizontal,
        vertical + button,
        horizontal,
        button,
        vertical,
    )
    return next((known[name] for name in candidates if name in known), known["NOOP"])
