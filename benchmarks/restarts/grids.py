"""MiniGrid's tasks with one layout, seen whole: what makes them hard is how long nothing is earned, not what is hidden."""

from collections.abc import Hashable
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.envs import KeyCorridorEnv, MultiRoomEnv
from minigrid.minigrid_env import MiniGridEnv

HELD = ("key", "ball")


class _Whole(MiniGridEnv):
    """Observes where the agent is and looks, what it holds, and which doors are open; the layout is always that of one seed.

    MiniGrid's own observation, seven by seven cells ahead, takes most of a step's time to make.
    """

    layout = 0

    def _doors(self) -> list[bool]:
        return [bool(vars(thing)["is_open"]) for thing in self.grid.grid if thing is not None and thing.type == "door"]

    def cell(self) -> Hashable:
        """All of that as one value."""
        held = self.carrying.type if self.carrying is not None else None
        return tuple(map(int, self.agent_pos)), int(self.agent_dir), held, *self._doors()

    def gen_obs(self) -> np.ndarray:  # type: ignore[override]
        held = [float(self.carrying is not None and self.carrying.type == kind) for kind in HELD]
        x, y, looks = np.zeros(self.width), np.zeros(self.height), np.zeros(4)
        x[self.agent_pos[0]] = y[self.agent_pos[1]] = looks[self.agent_dir] = 1.0
        return np.concatenate([x, y, looks, held, self._doors()], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(seed=self.layout, options=options)
        self.observation_space = spaces.Box(0.0, 1.0, observation.shape)
        return observation, info


class MultiRoom(_Whole, MultiRoomEnv):
    """Six rooms in a row; the goal is in the last.

    MiniGrid's own limit, 120 steps, leaves no room for ways that exploration finds: here it is 400.
    """

    def __init__(self) -> None:
        super().__init__(minNumRooms=6, maxNumRooms=6, max_steps=400)
        self.reset()


class KeyCorridor(_Whole, KeyCorridorEnv):
    """Find the key, open the locked room, drop the key, pick up the ball."""

    def __init__(self) -> None:
        super().__init__(num_rows=3, room_size=3)
        self.reset()
