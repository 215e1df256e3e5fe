"""The vine (paper, section 5.2): a trunk of single-path experience, and branches from some of its states.

The trunk is the rollout buffer, filled as in single path. States are chosen before it runs and saved as it passes them;
after it, several actions are tried in each, and a branch is run from every one.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.policy import action_distribution, count, draw_noise, draws
from sb3_trpo.ranks import Ranks
from sb3_trpo.sampling.batch import Batch
from sb3_trpo.sampling.defects import Defect
from sb3_trpo.sampling.sampler import register_sampler
from sb3_trpo.sampling.samples import single_precision
from sb3_trpo.sampling.single_path import Transition
from sb3_trpo.sampling.vine.branches import Branch, BranchRules, Outcomes, run_branches
from sb3_trpo.sampling.vine.discrete import all_actions, random_actions, sizes
from sb3_trpo.sampling.vine.envs import BranchEnvs, branch_template
from sb3_trpo.sampling.vine.settings import VineSettings
from sb3_trpo.sampling.vine.surrogate import Branched
from sb3_trpo.sampling.vine.trials import Trials
from sb3_trpo.sampling.vine.workers import BranchWorkers
from sb3_trpo.simulators import copy_env, reseed
from sb3_trpo.vec_env import RowState, WrapperStages, clone_row_models, clone_rows

ROWS = 32  # branches at a time; a multiple of 16, so that a network gives equal rows equal outputs wherever they stand


@dataclass(frozen=True)
class VineBatch:
    """What the branches say of N states: the vine's :class:`~sb3_trpo.sampling.Experience`.

    :param observations: of the states ``[N, …]``, or a dict of such
    :param actions: tried there ``[N, K, …]``, as the distribution's ``log_prob`` takes them
    :param q_values: Q̂ of each ``[N, K]``, reward units
    :param log_proposal: log q of each, the density they were drawn with ``[N, K]``, nats; None if all were tried once
    :param places: step of the rollout and environment of each state
    :param steps: env steps that the branches took
    :param diagnostics: for the log
    """

    observations: PyTorchObs
    actions: th.Tensor
    q_values: th.Tensor
    log_proposal: th.Tensor | None
    places: list[tuple[int, int]]
    steps: int
    diagnostics: dict[str, float]

    @property
    def contrasts(self) -> th.Tensor:
        """Q̂ of each branch minus the mean over those of its state ``[N, K]``."""
        return self.q_values - self.q_values.mean(dim=1, keepdim=True)

    def surrogate(self, batch: Batch, normalize: bool, ranks: Ranks) -> Branched:
        return Branched(self.observations, self.actions, self.contrasts, self.log_proposal, normalize, ranks)

    def find_defect(self) -> Defect | None:
        """The first return of a branch that is NaN or infinite, or None."""
        bad = (~th.isfinite(self.q_values)).nonzero()
        if not len(bad):
            return None
        state, branch = bad[0].tolist()
        step, env = self.places[state]
        return Defect(f"the return of branch {branch}", float(self.q_values[state, branch]), step, env)


class Trunk:
    """States to branch from: chosen uniformly before the rollout, saved as it passes them.

    :param env: the training environments
    :param n_steps: steps of each in the rollout
    :param n_states: N
    :param rng: draws the states
    """

    def __init__(self, env: VecEnv, n_steps: int, n_states: int, rng: np.random.Generator):
        self.env, self.n_envs = env, env.num_envs
        self.chosen = np.sort(rng.choice(n_steps * env.num_envs, n_states, replace=False))
        self.states: list[RowState] = []
        self.places = [  # step of the rollout and environment of each state
            divmod(int(index), self.n_envs) for index in self.chosen
        ]
        self._models = clone_row_models(env)  # they may have been edited since the last rollout

    def watch(self, path: Iterator[Transition]) -> Iterator[Transition]:
        """The path itself; the chosen states are saved just before the steps that leave them."""
        self._save(0)
        for step, transition in enumerate(path, start=1):
            yield transition
            self._save(step)

    def due(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Steps and environments of the chosen states, from one step to before another one."""
        first, last = np.searchsorted(self.chosen, [begin * self.n_envs, end * self.n_envs])
        return self.places[first:last]

    def take(self, states: Sequence[RowState]) -> None:
        """The next of the chosen states, where the path was run elsewhere."""
        for (_, index), state in zip(self.places[len(self.states) :], states, strict=False):
            self.states.append(state._replace(models=self._models[index]))

    def _save(self, step: int) -> None:
        due = self.due(step, step + 1)
        if due and self.places[len(self.states) :][:1] == due[:1]:
            self.take(clone_rows(self.env, [index for _, index in due]))

    def observations(self, buffer: RolloutBuffer) -> PyTorchObs:
        """What the policy saw in the chosen states ``[N, …]``, from the full buffer, not yet read from."""
        rows = np.divmod(self.chosen, self.n_envs)
        if isinstance(buffer.observations, dict):
            return {key: single_precision(array[rows], buffer.device) for key, array in buffer.observations.items()}
        return single_precision(buffer.observations[rows], buffer.device)


def first_actions(
    policy: ActorCriticPolicy, observations: PyTorchObs, settings: VineSettings, rng: np.random.Generator
) -> tuple[th.Tensor, th.Tensor | None]:
    """Actions to try in N states, and the log-density they were drawn with.

    All of a discrete space; or, drawn independently, uniformly from a discrete space and from the policy itself for a
    continuous one, as the paper does.

    :return: actions ``[N, K, …]`` and log q ``[N, K]``, or None if all were taken
    """
    space = policy.action_space
    n_states = count(observations)
    if settings.branches_per_state == "all":
        every = th.as_tensor(all_actions(space), device=policy.device)
        return every.expand(n_states, *every.shape), None
    n_branches = int(settings.branches_per_state)  # type: ignore[arg-type]
    choices = sizes(space)
    if choices is not None:
        actions = th.as_tensor(random_actions(space, rng, (n_states, n_branches)), device=policy.device)
        return actions, th.full((n_states, n_branches), -math.log(math.prod(choices)), device=policy.device)
    with th.no_grad():
        noise = th.as_tensor(draw_noise(policy, rng, (n_branches, n_states)), device=policy.device)
        distribution = policy.get_distribution(observations)
        kind, log_std = action_distribution(distribution), getattr(policy, "log_std", None)
        tried = [kind.act(distribution, each, log_std) for each in noise]
        return th.stack(tried, dim=1), th.stack([distribution.log_prob(actions) for actions in tried], dim=1)


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
        self._stages = WrapperStages(env, ROWS)
        template = branch_template(env)
        self._trials = Trials(env, template, settings.n_workers)
        self._here: BranchEnvs | None = None
        self._workers: BranchWorkers | None = None
        if settings.n_workers:
            self._workers = BranchWorkers(template, policy, ROWS, settings.n_workers)
        else:
            self._here = BranchEnvs([template, *(copy_env(template) for _ in range(ROWS - 1))], self._stages)

    def begin(self, n_steps: int, gamma: float, sde_sample_freq: int, rng: np.random.Generator) -> "Growth":
        """Begin a rollout."""
        return Growth(self, self.trunk(n_steps, rng), gamma, sde_sample_freq, rng)

    def trunk(self, n_steps: int, rng: np.random.Generator) -> Trunk:
        """Choose the states of the next rollout."""
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
        observations = trunk.observations(buffer)
        actions, log_proposal = first_actions(policy, observations, settings, rng)
        hold = 1 if not policy.use_sde else (sde_sample_freq if sde_sample_freq > 0 else settings.branch_length)
        rules = BranchRules(settings.branch_length, gamma, settings.bootstrap, hold)
        branches = self._branches(policy, trunk.states, actions, rng, rules)
        if self._workers is not None:
            examples = (
                {key: part[:ROWS] for key, part in observations.items()}
                if isinstance(observations, dict)
                else observations[:ROWS]
            )
            outcomes = self._workers.run(policy, self._stages, branches, rules, (examples, actions[:ROWS, 0]))
        else:
            assert self._here is not None, "closed"
            outcomes = run_branches(policy, self._here, branches, rules)
        owners = [env for _, env in trunk.places for _ in range(actions.shape[1])]
        self._trials.check(branches, outcomes, owners, rules.length)
        q_values = th.as_tensor(outcomes.returns.reshape(actions.shape[:2]), dtype=th.float32, device=policy.device)
        diagnostics = _diagnostics(outcomes, q_values, time.perf_counter() - begin)
        steps = int(outcomes.lengths.sum())
        return VineBatch(observations, actions, q_values, log_proposal, trunk.places, steps, diagnostics)

    def _branches(
        self,
        policy: ActorCriticPolicy,
        states: list[RowState],
        actions: th.Tensor,
        rng: np.random.Generator,
        rules: BranchRules,
    ) -> list[Branch]:
        n_states, n_branches = actions.shape[:2]
        rows = max(0, -(-(rules.length - 1) // rules.hold))
        shared = self.settings.common_random_numbers
        noise = draw_noise(policy, rng, (n_states, 1 if shared else n_branches, rows))
        tried = actions.cpu().numpy()
        branches = []
        for index, state in enumerate(states):
            for k in range(n_branches):
                own = state if shared else state._replace(env=reseed(state.env, int(rng.integers(2**63))))
                branches.append(Branch(own, tried[index, k], noise[index, 0 if shared else k]))
        return branches

    def close(self) -> None:
        """Close the environments and end the processes."""
        if self._here is not None:
            self._here.close()
        if self._workers is not None:
            self._workers.close()
            self._trials.template.close()


@dataclass(frozen=True)
class Growth:
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
    """The vine of these environments, with a user's options; see :func:`~sb3_trpo.sampling.register_sampler`."""
    return kind(env, policy, VineSettings.of(options, env.action_space, n_steps * env.num_envs))


register_sampler("vine", make_vine)


def _diagnostics(outcomes: Outcomes, q_values: th.Tensor, seconds: float) -> dict[str, float]:
    """Number of branches, their mean length, share that terminated, spread of Q̂ between the branches of a state, steps/s."""
    return {
        "rollout/branch_count": len(outcomes.lengths),
        "rollout/branch_length_mean": float(outcomes.lengths.mean()),
        "rollout/branch_terminated": float(outcomes.terminated.mean()),
        "rollout/branch_spread": float(q_values.std(dim=1, correction=min(1, q_values.shape[1] - 1)).mean()),
        "rollout/branch_steps_per_second": float(outcomes.lengths.sum() / seconds),
    }
