"""Branches of the vine (paper, section 5.2): from saved states, in lock step, under noise drawn beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.rollouts.row_states import RowState
from sb3_trpo.rollouts.single_path import Observations, finite, to_env
from sb3_trpo.rollouts.vine.envs import BranchEnvs
from sb3_trpo.rollouts.vine.noise import actions_from_noise, noise_shape


class Branch(NamedTuple):
    """One branch.

    :param state: where it starts
    :param first_action: the action tried there, as the distribution gives it
    :param noise: behind the policy's later actions, one row for every :attr:`BranchRules.hold` of them
    """

    state: RowState
    first_action: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class BranchRules:
    """What all branches have in common.

    :param length: most steps of a branch, its first action included
    :param gamma: discount factor
    :param bootstrap: whether the critic stands in for what comes after a cut
    :param hold: policy steps that share one row of noise (gSDE keeps its exploration matrix for several)
    """

    length: int
    gamma: float
    bootstrap: bool
    hold: int


class Outcomes(NamedTuple):
    """What came of J branches.

    :param returns: Q̂ = Σ_t γ^t r_t (+ γ^T V(s_T) where a branch was cut, by its length or by a time limit) ``[J]``
    :param lengths: T, steps taken ``[J]``
    :param terminated: whether the episode ended ``[J]``
    """

    returns: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray


@th.no_grad()
def run_branches(policy: ActorCriticPolicy, envs: BranchEnvs, branches: Sequence[Branch], rules: BranchRules) -> Outcomes:
    """Run branches, as many at a time as there are environments; where one ends the next in line begins.

    The policy sees all rows in every step, so a row's actions do not depend on which branches run beside it, and
    branches with equal states, first actions and noise are equal bit for bit.

    :param policy: in eval mode; draws no random numbers here
    :param envs: to run in
    :param branches: J branches
    :param rules: for all of them
    """
    runner = _Runner(policy, envs, branches, rules)
    threads = th.get_num_threads()
    th.set_num_threads(1)  # a network's outputs may depend on how its work is divided
    try:
        while runner.fill():
            runner.step()
        runner.bootstrap()
    finally:
        th.set_num_threads(threads)
    return Outcomes(runner.returns, runner.lengths, runner.terminated)


class _Runner:
    """Branches in progress, by row of the environments."""

    def __init__(self, policy: ActorCriticPolicy, envs: BranchEnvs, branches: Sequence[Branch], rules: BranchRules):
        self.policy, self.envs, self.branches, self.rules = policy, envs, branches, rules
        self.to_env = to_env(policy)
        self.device = policy.device
        self.waiting = iter(range(len(branches)))
        self.current: list[int | None] = [None] * len(envs)
        self.obs: Observations | None = None
        self.noise = np.zeros((len(envs), *noise_shape(policy)), dtype=np.float32)
        self.returns = np.zeros(len(branches))
        self.lengths = np.zeros(len(branches), dtype=np.int64)
        self.terminated = np.zeros(len(branches), dtype=bool)
        self.cut: list[tuple[int, Any]] = []

    def fill(self) -> bool:
        """Give every idle row the next branch; whether any row has one."""
        for row, branch in enumerate(self.current):
            if branch is None:
                self.current[row] = following = next(self.waiting, None)
                if following is not None:
                    self.envs.load(row, self.branches[following].state)
        return any(branch is not None for branch in self.current)

    def step(self) -> None:
        """One step of every row that has a branch."""
        rows = [row for row, branch in enumerate(self.current) if branch is not None]
        running = [self.current[row] for row in rows]
        actions = self._actions(rows, running)  # type: ignore[arg-type]
        self.obs, rewards, terminations, truncations = self.envs.step(rows, actions)
        for row, branch, terminated, truncated in zip(rows, running, terminations, truncations, strict=True):
            self.returns[branch] += self.rules.gamma ** self.lengths[branch] * rewards[row]
            self.lengths[branch] += 1
            if terminated or truncated or self.lengths[branch] == self.rules.length:
                self.terminated[branch] = terminated
                self.current[row] = None
                if self.rules.bootstrap and not terminated:
                    self.cut.append((branch, _row(self.obs, row)))  # type: ignore[arg-type]

    def _actions(self, rows: list[int], running: list[int]) -> list[Any]:
        """First actions where a branch begins, the policy's elsewhere; as the environments take them."""
        later = [(row, branch) for row, branch in zip(rows, running, strict=True) if self.lengths[branch]]
        drawn: np.ndarray | None = None
        if later:
            for row, branch in later:
                self.noise[row] = self.branches[branch].noise[(self.lengths[branch] - 1) // self.rules.hold]
            observations = obs_as_tensor(finite(self.obs), self.device)  # type: ignore[arg-type]
            drawn = actions_from_noise(self.policy, observations, self.noise).cpu().numpy()
        chosen = [
            drawn[row] if self.lengths[branch] else self.branches[branch].first_action  # type: ignore[index]
            for row, branch in zip(rows, running, strict=True)
        ]
        return list(self.to_env(np.stack(chosen).reshape(len(chosen), *self.policy.action_space.shape)))  # type: ignore[misc]

    def bootstrap(self) -> None:
        """Add γ^T V(s_T) to every branch that was cut, in batches of as many rows as act together."""
        for start in range(0, len(self.cut), len(self.envs)):
            part = self.cut[start : start + len(self.envs)]
            padded = [obs for _, obs in part] + [part[0][1]] * (len(self.envs) - len(part))
            values = self.policy.predict_values(obs_as_tensor(_stacked(padded), self.device)).cpu().numpy().reshape(-1)
            for (branch, _), value in zip(part, values):  # noqa: B905 (the rest is padding)
                self.returns[branch] += self.rules.gamma ** self.lengths[branch] * value


def _row(obs: Observations, row: int) -> Any:
    if isinstance(obs, dict):
        return {key: value[row].copy() for key, value in obs.items()}
    return obs[row].copy()


def _stacked(rows: list[Any]) -> Observations:
    if isinstance(rows[0], dict):
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return np.stack(rows)
