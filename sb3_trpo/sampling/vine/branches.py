"""Branches of the vine (paper, section 5.2): from saved states, in lock step, under noise drawn beforehand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.discrete import MASKS
from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import make_actor
from sb3_trpo.policy.acting import Act
from sb3_trpo.sampling.defects import predicted_values
from sb3_trpo.sampling.single_path import Observations, finite, stacked, to_env
from sb3_trpo.sampling.vine.envs import BranchEnvs
from sb3_trpo.vec_env import RowState

ANOTHER_MASK = (
    f"{MASKS}() gave another mask where a branch begins than in the same state of the rollout. It depends on something that "
    "is no part of the environment's state: a variable of a module, another environment, or what the environment's own "
    "clone_state() leaves out. Let it depend only on attributes of the environment."
)


class Branch(NamedTuple):
    """One branch.

    :param state: where it starts
    :param first_action: the action tried there, as the distribution gives it
    :param noise: behind the policy's later actions, one row for every :attr:`BranchRules.hold` of them
    :param mask: what was possible in the state ``[P]``, if environments are asked
    """

    state: RowState
    first_action: np.ndarray
    noise: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class BranchRules:
    """What all branches have in common.

    :param length: most steps of a branch, its first action included
    :param gamma: discount factor
    :param bootstrap: whether the critic stands in for what comes after a cut
    :param hold: policy steps that share one row of noise (gSDE keeps its exploration matrix for several)
    :param action_dims: outcomes of each action component, if environments are asked which are possible; None: all are
    """

    length: int
    gamma: float
    bootstrap: bool
    hold: int
    action_dims: tuple[int, ...] | None = None


class Paths(NamedTuple):
    """All S steps of J branches, those of each in their order.

    :param branches: each step's branch ``[S]``
    :param actions: as the environments took them ``[S, …]``
    :param rewards: as the environments gave them ``[S]``
    :param digests: of the observations they gave (as in :class:`~sb3_trpo.simulators.Replayed`) ``[S, …]``
    """

    branches: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    digests: np.ndarray

    def of(self, branch: int) -> "Paths":
        """The steps of one branch."""
        mine = self.branches == branch
        return Paths(*(array[mine] for array in self))


class BranchResults(NamedTuple):
    """What came of J branches.

    :param returns: Q̂ = Σ_t γ^t r_t (+ γ^T V(s_T) where a branch was cut, by its length or by a time limit) ``[J]``
    :param lengths: T, steps taken ``[J]``
    :param terminated: whether the episode ended ``[J]``
    :param paths: their steps
    """

    returns: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray
    paths: Paths

    @classmethod
    def joined(cls, parts: Sequence["BranchResults"]) -> "BranchResults":
        """The outcomes of all branches from those of parts of them."""
        begins = np.cumsum([0, *(len(part.returns) for part in parts[:-1])])
        paths = [part.paths._replace(branches=part.paths.branches + n) for part, n in zip(parts, begins, strict=True)]
        returns, lengths, terminated = (np.concatenate([part[field] for part in parts]) for field in range(3))
        return cls(returns, lengths, terminated, Paths(*map(np.concatenate, zip(*paths, strict=True))))


@th.no_grad()
def run_branches(policy: ActorCriticPolicy, envs: BranchEnvs, branches: Sequence[Branch], rules: BranchRules) -> BranchResults:
    """Run branches, as many at a time as there are environments; where one ends the next in line begins.

    The policy sees all rows in every step, so a row's actions do not depend on which branches run beside it, and
    branches with equal states, first actions and noise are equal bit for bit.

    :param policy: in eval mode; draws no random numbers here
    :param envs: to run in
    :param branches: J ≥ 1 branches
    :param rules: for all of them
    """
    runner = _Runner(policy, envs, branches, rules)
    with one_thread():
        while runner.fill():
            runner.step()
        runner.bootstrap()
    paths = Paths(*map(np.concatenate, zip(*runner.steps, strict=True)))
    return BranchResults(runner.returns, runner.lengths, runner.terminated, paths)


_setting_threads = Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch's work for this thread on one processor: a network's outputs may depend on how its work is divided.

    ``set_num_threads`` sets the number for this thread and for those that begin later: these are given theirs back at once.
    """
    with _setting_threads:
        threads = th.get_num_threads()
        th.set_num_threads(1)
        helper = Thread(target=th.set_num_threads, args=(threads,))
        helper.start()
        helper.join()
    try:
        yield
    finally:
        th.set_num_threads(threads)


class _Runner:
    """Branches in progress, by row of the environments."""

    def __init__(self, policy: ActorCriticPolicy, envs: BranchEnvs, branches: Sequence[Branch], rules: BranchRules):
        self.policy, self.envs, self.branches, self.rules = policy, envs, branches, rules
        self.act: Act | None = None
        self.to_env = to_env(policy)
        self.waiting = iter(range(len(branches)))
        self.obs: Observations | None = None

        self.current = np.full(len(envs), -1)  # a row's branch, -1 for none
        self.taken = np.zeros(len(envs), dtype=np.int64)
        self.discounted = np.zeros(len(envs))
        self.first_actions = np.stack([branches[0].first_action] * len(envs))
        self.noise = np.stack([branches[0].noise] * len(envs))

        self.returns = np.zeros(len(branches))
        self.lengths = np.zeros(len(branches), dtype=np.int64)
        self.terminated = np.zeros(len(branches), dtype=bool)
        self.cut: list[tuple[int, Any]] = []
        self.steps: list[Paths] = []

    def fill(self) -> bool:
        """Give every idle row the next branch; whether any row has one."""
        for row in np.flatnonzero(self.current < 0).tolist():
            following = next(self.waiting, None)
            if following is None:
                break
            branch = self.branches[following]
            self.envs.load(row, branch.state)
            self.first_actions[row], self.noise[row] = branch.first_action, branch.noise
            self.current[row] = following
        return bool((self.current >= 0).any())

    def step(self) -> None:
        """One step of every row that has a branch."""
        rows = np.flatnonzero(self.current >= 0)
        actions = self._actions(rows)
        taken = actions.copy()  # an environment may write into its own
        self.obs, rewards, terminated, truncated = self.envs.step(rows.tolist(), actions)
        self.steps.append(Paths(self.current[rows], taken, self.envs.rewards[rows], self.envs.digests[rows]))
        self.discounted[rows] += self.rules.gamma ** self.taken[rows] * rewards[rows]
        self.taken[rows] += 1
        ended = terminated | truncated | (self.taken[rows] == self.rules.length)
        for row, terminal in zip(rows[ended].tolist(), terminated[ended], strict=True):
            branch = int(self.current[row])
            self.returns[branch], self.lengths[branch] = self.discounted[row], self.taken[row]
            self.terminated[branch] = terminal
            self.current[row], self.taken[row], self.discounted[row] = -1, 0, 0.0
            if self.rules.bootstrap and not terminal:
                self.cut.append((branch, _row(self.obs, row)))  # type: ignore[arg-type]

    def _actions(self, rows: np.ndarray) -> np.ndarray:
        """First actions where a branch begins, the policy's elsewhere; as the environments take them."""
        masks = self._masks(rows)
        actions = self.first_actions[rows]
        later = self.taken[rows] > 0
        if later.any():
            noise = self.noise[np.arange(len(self.noise)), (self.taken - 1) // self.rules.hold]
            obs = finite(self.obs)  # type: ignore[arg-type]
            if self.act is None:
                self.act = make_actor(self.policy, obs, noise, masks)
            drawn = self.act(obs, noise, masks)
            actions[later] = drawn[rows[later]]
        return self.to_env(actions.reshape(len(rows), *self.policy.action_space.shape))  # type: ignore[misc]

    def _masks(self, rows: np.ndarray) -> np.ndarray | None:
        """What is possible now, of all rows ``[rows, P]``, if environments are asked."""
        if self.rules.action_dims is None:
            return None
        masks = self.envs.masks(rows, self.taken[rows], self.rules.action_dims)
        for row in rows[self.taken[rows] == 0]:
            if not np.array_equal(masks[row], self.branches[self.current[row]].mask):
                raise RuntimeError(ANOTHER_MASK)
        return masks

    def bootstrap(self) -> None:
        """Add γ^T V(s_T) to every branch that was cut, in batches of as many rows as act together."""
        for start in range(0, len(self.cut), len(self.envs)):
            part = self.cut[start : start + len(self.envs)]
            padded = [obs for _, obs in part] + [part[0][1]] * (len(self.envs) - len(part))
            states = obs_as_tensor(stacked(padded), self.policy.device)
            values = predicted_values(self.policy, states).cpu().numpy().reshape(-1)
            for (branch, _), value in zip(part, values):  # noqa: B905 (the rest is padding)
                self.returns[branch] += self.rules.gamma ** self.lengths[branch] * value


def _row(obs: Observations, row: int) -> Any:
    return map_parts(lambda part: part[row].copy(), obs)
