"""The vine (paper, section 5.2): a trunk of single-path experience, and branches from some of its states.

The trunk is the rollout buffer, filled as in single path. States are chosen before it runs and saved as it passes them;
after it, several actions are tried in each, and a branch is run from every one.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.policy import MaskedStates, PolicyInput, draw_noise, draws, explores_by_state, select
from sb3_trpo.ranks import Ranks
from sb3_trpo.sampling.batch import Batch
from sb3_trpo.sampling.defects import Defect
from sb3_trpo.sampling.masks import RolloutMasks
from sb3_trpo.sampling.sampler import register_sampler
from sb3_trpo.sampling.single_path import Transition
from sb3_trpo.sampling.vine.branches import Branch, BranchResults, BranchRules, run_branches
from sb3_trpo.sampling.vine.envs import BranchEnvs, branch_template
from sb3_trpo.sampling.vine.first_actions import FirstActions, first_actions
from sb3_trpo.sampling.vine.replay_check import Trials
from sb3_trpo.sampling.vine.settings import VineSettings
from sb3_trpo.sampling.vine.surrogate import Branched, branch_advantages, spread
from sb3_trpo.sampling.vine.trunk import Trunk
from sb3_trpo.sampling.vine.workers import BranchWorkers
from sb3_trpo.simulators import copy_env, reseed
from sb3_trpo.vec_env import RowState, WrapperStages

ROWS = 32  # branches at a time; a multiple of 16, so that a network gives equal rows equal outputs wherever they stand


@dataclass(frozen=True)
class VineBatch:
    """What the branches say of N states: the vine's :class:`~sb3_trpo.sampling.Experience`.

    :param observations: of the states ``[N, …]``, or a dict of such, or these with masks
    :param tried: K actions in each
    :param q_values: Q̂ of each ``[N, K]``, reward units; 0 for an action that is not possible
    :param places: step of the rollout and environment of each state
    :param steps: env steps that the branches took
    :param diagnostics: for the log
    """

    observations: PolicyInput
    tried: FirstActions
    q_values: th.Tensor
    places: list[tuple[int, int]]
    steps: int
    diagnostics: dict[str, float]

    @property
    def branch_advantages(self) -> th.Tensor:
        """Q̂ of each branch minus the mean over those of its state ``[N, K]``; 0 where there was none."""
        return branch_advantages(self.q_values, self.tried.possible)

    def surrogate(self, batch: Batch, normalize: bool, ranks: Ranks) -> Branched:
        return Branched(self.observations, self.tried, self.branch_advantages, normalize, ranks)

    def find_defect(self) -> Defect | None:
        """The first return of a branch that is NaN or infinite, or None."""
        bad = (~th.isfinite(self.q_values)).nonzero()
        if not len(bad):
            return None
        state, branch = bad[0].tolist()
        step, env = self.places[state]
        return Defect(f"the return of branch {branch}", float(self.q_values[state, branch]), step, env)


class Vine:
    """Grows branches: keeps the environments and processes they run in.

    :param env: the training environments
    :param policy: says what kind of actions branches draw
    :param settings: complete
    :raises ValueError: if the environments cannot be copied exactly; the message names what is in the way
    :raises TypeError: for an action distribution that is not SB3's own
    """

    def __init__(self, env: VecEnv, policy: ActorCriticPolicy, settings: VineSettings):
        if not draws(policy.action_dist):
            raise TypeError(
                f"The vine cannot draw actions of a {type(policy.action_dist).__name__} from noise that branches share: "
                'use one of Stable-Baselines3\'s own distributions, or sampling="single_path".'
            )
        self.env, self.settings = env, settings
        self.masks: Callable[[], RolloutMasks | None] = lambda: None  # those of the present rollout; None: all is possible
        self._stages = WrapperStages(env, ROWS)
        template = branch_template(env)
        self._trials = Trials(env, template, settings.n_workers)
        self._here: BranchEnvs | None = None
        self._workers: BranchWorkers | None = None
        if settings.n_workers:
            self._workers = BranchWorkers(template, policy, ROWS, settings.n_workers)
        else:
            self._here = BranchEnvs([template, *(copy_env(template) for _ in range(ROWS - 1))], self._stages)

    def begin(self, n_steps: int, gamma: float, sde_sample_freq: int, rng: np.random.Generator) -> "VineRollout":
        """Begin a rollout; see :meth:`sb3_trpo.sampling.Sampler.begin`."""
        return VineRollout(self, self.trunk(n_steps, rng), gamma, sde_sample_freq, rng)

    def trunk(self, n_steps: int, rng: np.random.Generator) -> Trunk:
        """Choose the states of the next rollout.

        :param n_steps: steps of each environment
        :param rng: draws the states
        """
        assert self.settings.n_states is not None
        return Trunk(self.env, n_steps, self.settings.n_states, rng)

    def grow(
        self,
        policy: ActorCriticPolicy,
        buffer: RolloutBuffer,
        trunk: Trunk,
        rng: np.random.Generator,
        gamma: float,
        sde_sample_freq: int = -1,
    ) -> VineBatch:
        """Try actions in the chosen states and run the branches.

        :param policy: in eval mode
        :param buffer: full
        :param trunk: has watched the rollout
        :param rng: of first actions, noise and, without common random numbers, the simulators
        :param gamma: discount factor
        :param sde_sample_freq: as in the rollout
        """
        begin = time.perf_counter()
        settings = self.settings
        masks = self.masks()
        states = trunk.policy_input(buffer, masks)
        tried = first_actions(policy, states, settings, rng)
        hold = 1 if not explores_by_state(policy) else (sde_sample_freq if sde_sample_freq > 0 else settings.branch_length)
        rules = BranchRules(
            settings.branch_length, gamma, settings.bootstrap, hold, None if masks is None else masks.action_dims
        )
        branches, places = self._branches(policy, trunk.states, tried, rng, rules), tried.places()
        if isinstance(states, MaskedStates):
            possible = states.masks.cpu().numpy()
            branches = [branch._replace(mask=possible[state]) for branch, (state, _) in zip(branches, places, strict=True)]
        if self._workers is not None:
            examples = select(states, slice(ROWS)), tried.actions[:ROWS, 0]
            results = self._workers.run(policy, self._stages, branches, rules, examples)
        else:
            assert self._here is not None, "closed"
            results = run_branches(policy, self._here, branches, rules)
        self._trials.check(branches, results, [trunk.places[state][1] for state, _ in places], rules)
        returns = np.zeros(tried.shape)
        returns[tuple(np.transpose(places))] = results.returns
        q_values = th.as_tensor(returns, dtype=th.float32, device=policy.device)
        between = spread(branch_advantages(q_values, tried.possible), tried.possible)
        diagnostics = _diagnostics(results, between, time.perf_counter() - begin)
        steps = int(results.lengths.sum())
        return VineBatch(states, tried, q_values, trunk.places, steps, diagnostics)

    def _branches(
        self,
        policy: ActorCriticPolicy,
        states: list[RowState],
        tried: FirstActions,
        rng: np.random.Generator,
        rules: BranchRules,
    ) -> list[Branch]:
        n_states, n_branches = tried.shape
        rows = max(0, -(-(rules.length - 1) // rules.hold))
        shared = self.settings.common_random_numbers
        noise = draw_noise(policy, rng, (n_states, 1 if shared else n_branches, rows))
        actions = tried.actions.cpu().numpy()
        branches = []
        for index, k in tried.places():
            state = states[index]
            own = state if shared else state._replace(env=reseed(state.env, int(rng.integers(2**63))))
            branches.append(Branch(own, actions[index, k], noise[index, 0 if shared else k]))
        return branches

    def close(self) -> None:
        """Close the environments and end the processes."""
        if self._here is not None:
            self._here.close()
        if self._workers is not None:
            self._workers.close()
            self._trials.template.close()


@dataclass(frozen=True)
class VineRollout:
    """One rollout of a vine: the trunk, then its branches."""

    in_step: ClassVar[bool] = False

    vine: Vine
    trunk: Trunk
    gamma: float
    sde_sample_freq: int
    rng: np.random.Generator

    def watch(self, path: Iterator[Transition]) -> Iterator[Transition]:
        return self.trunk.watch(path)

    def experience(self, policy: ActorCriticPolicy, buffer: RolloutBuffer) -> VineBatch:
        return self.vine.grow(policy, buffer, self.trunk, self.rng, self.gamma, self.sde_sample_freq)


def make_vine(
    env: VecEnv, policy: ActorCriticPolicy, options: Mapping[str, Any] | None, n_steps: int, kind: type[Vine] = Vine
) -> Vine:
    """The vine of these environments, as :func:`~sb3_trpo.sampling.register_sampler` takes it.

    :param env: the training environments
    :param policy: that acts in them
    :param options: a user's ``vine_kwargs``; None for the defaults
    :param n_steps: steps of each environment in a rollout
    :param kind: a subclass
    :raises TypeError: as :class:`Vine`, and for an option of the wrong type
    :raises ValueError: as :class:`Vine`, and for an option out of range
    """
    return kind(env, policy, VineSettings.of(options, env.action_space, n_steps * env.num_envs))


register_sampler("vine", make_vine)


def _diagnostics(results: BranchResults, spread_of_states: float, seconds: float) -> dict[str, float]:
    """Number of branches, their mean length, share that terminated, spread of Q̂ between the branches of a state, steps/s."""
    return {
        "rollout/branch_count": len(results.lengths),
        "rollout/branch_length_mean": float(results.lengths.mean()),
        "rollout/branch_termination_rate": float(results.terminated.mean()),
        "rollout/branch_value_std": spread_of_states,
        "rollout/branch_fps": float(results.lengths.sum() / seconds),
    }
