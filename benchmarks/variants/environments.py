"""Small tasks with masks, with something to remember, and with both."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]


class RepeatPrevious(gym.Env):
    """Name the suit of the card seen four cards ago, through a shuffled deck: POPGym's RepeatPreviousEasy (Morad et al. 2023).

    The return is in [−1, 1]; who guesses gets −½.
    """

    observation_space, action_space = spaces.Box(0.0, 1.0, (5,)), spaces.Discrete(4)
    LAG = 4

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.suits, self.time = self.np_random.permutation(52) % 4, 0
        return self._look(), {}

    def _look(self) -> np.ndarray:
        suit = np.zeros(5, dtype=np.float32)
        suit[self.suits[self.time]] = 1.0
        suit[4] = self.time < self.LAG
        return suit

    def step(self, action: Any) -> Step:
        asked = self.time >= self.LAG
        right = asked and action == self.suits[self.time - self.LAG]
        reward = asked * (1.0 if right else -1.0) / (52 - self.LAG)
        self.time += 1
        over = self.time == 52
        return np.zeros(5, dtype=np.float32) if over else self._look(), reward, over, False, {}


class Tour(gym.Env):
    """Visit each of twenty places in the unit square once; a step costs its length. Places that were visited are masked."""

    N = 20
    action_space = spaces.Discrete(N)
    observation_space = spaces.Box(0.0, 1.0, (4 * N,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.places = self.np_random.random((self.N, 2))
        self.here, self.left = 0, np.ones(self.N, dtype=bool)
        self.left[0] = False
        return self._look(), {}

    def _look(self) -> np.ndarray:
        return np.concatenate([self.places.ravel(), self.left, np.arange(self.N) == self.here]).astype(np.float32)

    def action_masks(self) -> np.ndarray:
        return self.left

    def step(self, action: Any) -> Step:
        assert self.left[action]
        cost = float(np.linalg.norm(self.places[action] - self.places[self.here]))
        self.here, self.left[action] = int(action), False
        return self._look(), -cost, not self.left.any(), False, {}


class Assignment(gym.Env):
    """Give each of six people one of six jobs, a pair at a time; whoever and whatever is taken is masked."""

    N = 6
    action_space = spaces.MultiDiscrete([N, N])
    observation_space = spaces.Box(0.0, 1.0, (N * N + 2 * N,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.worth, self.free = self.np_random.random((self.N, self.N)), np.ones((2, self.N), dtype=bool)
        return self._look(), {}

    def _look(self) -> np.ndarray:
        return np.concatenate([self.worth.ravel(), self.free.ravel()]).astype(np.float32)

    def action_masks(self) -> np.ndarray:
        return self.free.ravel()

    def step(self, action: Any) -> Step:
        person, job = action
        assert self.free[0, person] and self.free[1, job]
        self.free[0, person] = self.free[1, job] = False
        return self._look(), float(self.worth[person, job]), not self.free.any(), False, {}


class ConnectFour(gym.Env):
    """Four in a row against an opponent who wins where it can and else plays at random; 1 for a win, −1 for a loss."""

    ROWS, COLUMNS = 6, 7
    action_space = spaces.Discrete(COLUMNS)
    observation_space = spaces.Box(0.0, 1.0, (2 * ROWS * COLUMNS,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.board = np.zeros((self.ROWS, self.COLUMNS), dtype=np.int8)
        if self.np_random.random() < 0.5:
            self._drop(int(self.np_random.integers(self.COLUMNS)), -1)
        return self._look(), {}

    def _look(self) -> np.ndarray:
        return np.concatenate([(self.board == 1).ravel(), (self.board == -1).ravel()]).astype(np.float32)

    def action_masks(self) -> np.ndarray:
        return self.board[-1] == 0

    def _drop(self, column: int, player: int) -> bool:
        """Whether the stone wins."""
        row = int((self.board[:, column] != 0).sum())
        self.board[row, column] = player
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            length = 1
            for sign in (1, -1):
                r, c = row + sign * down, column + sign * right
                while 0 <= r < self.ROWS and 0 <= c < self.COLUMNS and self.board[r, c] == player:
                    length, r, c = length + 1, r + sign * down, c + sign * right
            if length >= 4:
                return True
        return False

    def _answer(self) -> bool:
        columns = np.flatnonzero(self.action_masks())
        kept = self.board.copy()
        for column in columns:
            if self._drop(int(column), -1):
                return True
            self.board = kept.copy()
        return self._drop(int(self.np_random.choice(columns)), -1)

    def step(self, action: Any) -> Step:
        assert self.board[-1, action] == 0
        won = self._drop(int(action), 1)
        lost = not won and self.action_masks().any() and self._answer()
        over = won or lost or not self.action_masks().any()
        return self._look(), float(won) - float(lost), over, False, {}


class MaskedRecall(gym.Env):
    """Three cards are shown, one after another; then they must be picked in that order from forty, five of which are possible.

    Who does not see what is possible finds it seldom, and an impossible card ends the episode; who does not remember picks one
    of five. 1 for each card.
    """

    CARDS, SHOWN, OFFERED = 40, 3, 5
    action_space = spaces.Discrete(CARDS)
    observation_space = spaces.Box(0.0, 1.0, (CARDS + 1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.shown, self.time = self.np_random.permutation(self.CARDS)[: self.SHOWN], 0
        return self._look(), {}

    def _look(self) -> np.ndarray:
        look, self.mask = np.zeros(self.CARDS + 1, dtype=np.float32), np.zeros(self.CARDS, dtype=bool)
        self.mask[self.np_random.permutation(self.CARDS)[: self.OFFERED - 1]] = True
        if self.time < self.SHOWN:
            look[self.shown[self.time]] = 1.0
            self.mask[0] = True
        else:
            look[-1] = 1.0
            self.mask[self.shown[min(self.time - self.SHOWN, self.SHOWN - 1)]] = True
        return look

    def action_masks(self) -> np.ndarray:
        return self.mask

    def step(self, action: Any) -> Step:
        possible, picking = bool(self.mask[action]), self.time >= self.SHOWN
        right = possible and picking and action == self.shown[self.time - self.SHOWN]
        self.time += 1
        over = not possible or self.time == 2 * self.SHOWN
        return self._look(), float(right), over, False, {}
