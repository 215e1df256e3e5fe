"""Which states are alike: functions of environment and observation whose values can be compared."""

from collections.abc import Callable, Hashable
from hashlib import blake2b
from typing import Any

import gymnasium as gym
import numpy as np

Cell = Callable[[gym.Env, Any], Hashable]


def hashed(env: gym.Env, observation: Any) -> Hashable:
    """Only equal observations are alike, bit for bit: for grids and other small worlds.

    :param env: not looked at
    :param observation: any, also a dict or a tuple
    """
    if isinstance(observation, dict):
        return tuple(hashed(env, part) for part in observation.values())
    if isinstance(observation, tuple):
        return tuple(hashed(env, part) for part in observation)
    if isinstance(observation, (np.ndarray, np.generic)):
        return blake2b(np.asarray(observation).tobytes(), digest_size=16).digest()
    return observation


class Grid:
    """Vectors are alike that lie in one box of a grid.

    :param width: of a box, one number or one for each component; ``inf`` leaves a component out of account
    :param part: of the observation that counts, any index (``slice(2)``, ``[0, 3]``); for a Dict observation a key
    :raises ValueError: for a width that is not above 0
    """

    def __init__(self, width: Any, part: Any = slice(None)):
        self.width, self.part = np.asarray(width, dtype=np.float64), part
        if not (self.width > 0).all():
            raise ValueError(f"width={width!r}: a box is wider than 0 in every component.")

    def __call__(self, env: gym.Env, observation: Any) -> Hashable:
        boxes = np.where(np.isinf(self.width), 0.0, np.floor_divide(observation[self.part], self.width))
        return tuple(boxes.astype(int).tolist())


class DownscaledImage:
    """Images are alike that are equal once they are grey, small and of few shades (Ecoffet et al. 2021: 11×8 and 8 shades).

    An image is ``[height, width]`` or ``[height, width, colours or frames]``.

    :param height: of the small image, or that of an image that has fewer rows
    :param width: of the small image, or that of an image that has fewer columns
    :param shades: of grey, 2 to 256
    :raises ValueError: for a size below 1, or another number of shades
    """

    def __init__(self, height: int = 8, width: int = 11, shades: int = 8):
        if min(height, width) < 1 or not 2 <= shades <= 256:
            raise ValueError(f"height={height}, width={width}, shades={shades}: give sizes ≥ 1 and 2 to 256 shades.")
        self.height, self.width, self.shades = height, width, shades

    def __call__(self, env: gym.Env, observation: Any) -> Hashable:
        """
        :param observation: bytes ``[height, width]`` or ``[height, width, colours or frames]``
        :raises ValueError: for another shape, and where the frames come first
        """
        shape = np.shape(observation)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] < min(shape[1:])):
            raise ValueError(
                f"An observation of shape {shape} is no image [height, width] or [height, width, colours or frames]: give a "
                "function of your own as cell, such as lambda env, frames: DownscaledImage()(env, frames[-1])."
            )
        grey = np.asarray(observation, dtype=np.float32)
        grey = grey if grey.ndim == 2 else grey.mean(axis=2)
        wanted = np.minimum((self.height, self.width), grey.shape)
        rows, columns = (np.arange(n) * size // n for n, size in zip(wanted, grey.shape, strict=True))
        areas = np.add.reduceat(np.add.reduceat(grey, rows, axis=0), columns, axis=1)
        sizes = np.outer(*(np.diff(np.append(part, size)) for part, size in zip((rows, columns), grey.shape, strict=True)))
        return (areas / sizes * (self.shades / 256)).astype(np.uint8).tobytes()
