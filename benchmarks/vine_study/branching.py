"""A vine inside the environments: some rows of a VecEnv run on as they are, the others jump to states these have passed.

Single-path TRPO collects from all rows, and every step of every branch is a sample like any other. A jump looks like a time
limit: what a branch would have gained after it is the critic's estimate.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_trpo.simulators import reseed
from sb3_trpo.vec_env import RowState, clone_rows, restore_rows


class Root(NamedTuple):
    """A state to branch from, and what is observed there."""

    state: RowState
    obs: np.ndarray


class Roots:
    """Which states branches begin in: unless a subclass says otherwise any of those that were kept, all alike.

    :param size: most states that are kept
    """

    at_ends = True  # whether a branch jumps as soon as its episode ends, too; else it goes on from a fresh start

    def __init__(self, size: int = 0):
        self.kept: deque[Root] = deque(maxlen=size)
        self.steps = 0

    def watch(self, venv: VecEnv, obs: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]], n_trunks: int) -> None:
        """Note a step of the trunks, the rows below ``n_trunks``."""

    def choose(self, venv: VecEnv, obs: np.ndarray, branch: int, rng: np.random.Generator, n_trunks: int) -> Root | None:
        """Where the n-th branch begins now; None to let it run on."""
        return self.kept[rng.integers(len(self.kept))] if self.kept else None


class BranchingVecEnv(VecEnvWrapper):
    """Rows that are trunks, and after them rows that are branches.

    :param venv: the environments; VecNormalize goes around this one, not inside
    :param n_trunks: how many of them are trunks
    :param period: steps of a branch
    :param roots: where branches begin
    :param seed: of the branches' randomness
    """

    def __init__(self, venv: VecEnv, n_trunks: int, period: int, roots: Roots, seed: int = 0):
        super().__init__(venv)
        self.n_trunks, self.period, self.roots = n_trunks, period, roots
        self.rng = np.random.default_rng(seed)
        self.steps = 0

    def reset(self) -> np.ndarray:
        obs = self.venv.reset()
        assert isinstance(obs, np.ndarray)
        self.steps = 0
        self._jump(obs, range(self.n_trunks, self.num_envs))
        return obs

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = self.venv.step_wait()
        assert isinstance(obs, np.ndarray)
        self.steps += 1
        self.roots.watch(self.venv, obs, dones, infos, self.n_trunks)
        ended = np.flatnonzero(dones[self.n_trunks :]) + self.n_trunks
        last = obs.copy()
        if self.steps % self.period == 0:
            for row in self._jump(obs, range(self.n_trunks, self.num_envs)):
                if not dones[row]:
                    infos[row] |= {"TimeLimit.truncated": True, "terminal_observation": last[row]}
                    dones[row] = True
        elif self.roots.at_ends and len(ended):
            self._jump(obs, ended.tolist())
        return obs, rewards, dones, infos

    def _jump(self, obs: np.ndarray, rows: Sequence[int]) -> list[int]:
        """Let branches begin anew, under randomness of their own; the rows that did, with their observations written."""
        chosen = {row: self.roots.choose(self.venv, obs, row - self.n_trunks, self.rng, self.n_trunks) for row in rows}
        begun = {row: root for row, root in chosen.items() if root is not None}
        for row, root in begun.items():
            own = root.state._replace(env=reseed(root.state.env, int(self.rng.integers(2**63))))
            restore_rows(self.venv, [own], [row])
            obs[row] = root.obs
        return list(begun)


class Present(Roots):
    """Shadows: every branch begins where its trunk is now."""

    at_ends = False

    def choose(self, venv: VecEnv, obs: np.ndarray, branch: int, rng: np.random.Generator, n_trunks: int) -> Root | None:
        trunk = branch % n_trunks
        return Root(clone_rows(venv, [trunk])[0], obs[trunk].copy())


class Visited(Roots):
    """Branches begin in states that the trunks have passed lately.

    :param every: steps between two states that are kept
    :param size: most states that are kept
    """

    def __init__(self, every: int, size: int):
        super().__init__(size)
        self.every = every

    def watch(self, venv: VecEnv, obs: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]], n_trunks: int) -> None:
        self.steps += 1
        if self.steps % self.every == 0:
            rows = range(n_trunks)
            self.kept += [Root(state, obs[row].copy()) for row, state in zip(rows, clone_rows(venv, rows), strict=True)]


class Rare(Visited):
    """Of the states that trunks and branches have passed, those far from others are preferred.

    Among ``CANDIDATES`` drawn at random, the one with the largest distance to its ``NEIGHBOUR``-th neighbour, observations
    taken in units of their standard deviations.
    """

    CANDIDATES, NEIGHBOUR = 32, 5

    def watch(self, venv: VecEnv, obs: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]], n_trunks: int) -> None:
        super().watch(venv, obs, dones, infos, venv.num_envs)

    def choose(self, venv: VecEnv, obs: np.ndarray, branch: int, rng: np.random.Generator, n_trunks: int) -> Root | None:
        if len(self.kept) <= self.CANDIDATES:
            return None
        seen = np.array([root.obs for root in self.kept])
        seen = seen / (seen.std(axis=0) + 1e-8)
        candidates = rng.choice(len(seen), self.CANDIDATES, replace=False)
        distances = np.linalg.norm(seen[candidates, None] - seen[None], axis=2)
        return self.kept[candidates[np.partition(distances, self.NEIGHBOUR, axis=1)[:, self.NEIGHBOUR].argmax()]]


class BeforeFailures(Roots):
    """Branches begin shortly before the last places where an episode of a trunk terminated.

    :param within: steps before the failure, at most
    :param every: steps between two states that are kept
    :param size: most states that are kept
    """

    def __init__(self, within: int, every: int, size: int):
        super().__init__(size)
        self.within, self.every = within, every
        self.lately: dict[int, deque[Root]] = {}

    def watch(self, venv: VecEnv, obs: np.ndarray, dones: np.ndarray, infos: Sequence[dict[str, Any]], n_trunks: int) -> None:
        self.steps += 1
        for row in range(n_trunks):
            lately = self.lately.setdefault(row, deque(maxlen=self.within // self.every))
            if dones[row]:
                if not infos[row].get("TimeLimit.truncated", False):
                    self.kept += lately
                lately.clear()
            elif self.steps % self.every == 0:
                lately.append(Root(clone_rows(venv, [row])[0], obs[row].copy()))
