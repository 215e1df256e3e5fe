"""The evaluator of a path whose policy has a memory."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.policy import Memory, PolicyInput, Sequences, select
from sb3_trpo.sampling.defects import predicted_values
from sb3_trpo.sampling.evaluators import DeferredEvaluator
from sb3_trpo.sampling.masks import RolloutMasks
from sb3_trpo.sampling.samples import stored_observations
from sb3_trpo.sampling.single_path import Observations, Transition

ROWS = 4096  # steps whose features are held at a time, where no sequence is longer


def sequences_of(buffer: RolloutBuffer, source: PolicyInput, begin: Memory) -> Sequences:
    """The steps of a rollout, an environment after the other, cut where episodes begin.

    :param buffer: with ``pos`` steps of each environment
    :param source: what each step gives, in the order of the buffer's rows
    :param begin: what the LSTMs began the rollout with, of each environment
    """
    n_steps, n_envs, device = buffer.pos, buffer.n_envs, begin.actor[0].device
    starts = buffer.episode_starts[:n_steps].astype(bool)
    cuts = starts.copy()
    cuts[0] = True
    first = np.flatnonzero(cuts.T)
    envs, steps = np.divmod(first, n_steps)
    rows = np.arange(n_steps * n_envs)
    if not buffer.generator_ready:  # once it was read from, it has an environment after the other itself
        rows = rows.reshape(n_steps, n_envs).T.flatten()
    carried = th.as_tensor((steps == 0) & ~starts[0, envs], device=device)[:, None]
    memory = begin.of(th.as_tensor(envs, device=device))
    memory = Memory(*((hidden * carried, cell * carried) for hidden, cell in memory))
    return Sequences(source, th.as_tensor(rows, device=device), np.diff([*first, len(rows)]), memory)


class RecurrentEvaluator(DeferredEvaluator):
    """Actions from the states that the actor's LSTM carries; values and time limits' bootstraps after the last step.

    All sequences run through the critic at once then. A time limit ends a sequence, so what the critic's LSTM is in at its end
    is what the last observation is valued with.

    :param begin: what the LSTMs begin the rollout with, of each environment
    :param episode_starts: whether an episode begins with the first step ``[n_envs]``
    :param masks: where there are any
    :param args: as for :class:`~sb3_trpo.sampling.evaluators.DeferredEvaluator`
    """

    def __init__(self, begin: Memory, episode_starts: np.ndarray, masks: RolloutMasks | None, *args: Any):
        super().__init__(*args)
        self.begin, self.actor, self.masks = begin, begin.actor, masks
        self._starts = episode_starts

    @th.no_grad()
    def act(self, obs: Observations) -> np.ndarray:
        policy: Any = self.policy
        starts = th.as_tensor(self._starts, dtype=self.actor[0].dtype, device=self.device)
        distribution, self._next = policy.get_distribution(obs_as_tensor(obs, self.device), self.actor, starts)
        if self.masks is not None:
            distribution.apply_masking(self.masks.ask(self.buffer.pos))
        actions = distribution.get_actions()
        self._log_probs = distribution.log_prob(actions).cpu().numpy()
        return actions.reshape(-1, *policy.action_space.shape).cpu().numpy()

    def record(self, step: Transition, episode_starts: np.ndarray) -> None:
        self.buffer.log_probs[self.buffer.pos] = self._log_probs
        self.actor, self._starts = self._next, step.dones
        super().record(step, episode_starts)

    def acts_elsewhere(self) -> bool:
        return False  # what the LSTMs remember is here

    def locals(self) -> dict[str, Any]:
        return {} if self.masks is None else {"action_masks": self.masks.masks[self.buffer.pos]}

    def _evaluate_path(self) -> None:
        self.buffer.values[:] = self._run_the_critic()

    @th.no_grad()
    def _run_the_critic(self) -> np.ndarray:
        """Values of the steps so far ``[pos, n_envs]``. What the critic's LSTM is in where each sequence ends is kept."""
        buffer, policy = self.buffer, self.policy
        path = sequences_of(buffer, stored_observations(buffer), self.begin)
        parts = [select(path, rows).values_and_end(policy) for rows in path.chunks(ROWS)]
        values = th.cat([part for part, _ in parts]).cpu().numpy().reshape(buffer.n_envs, buffer.pos)
        self._ends = th.cat([end[0] for _, end in parts], dim=1), th.cat([end[1] for _, end in parts], dim=1)
        self._sequence = np.repeat(np.arange(len(path.lengths)), path.lengths).reshape(buffer.n_envs, buffer.pos)
        return values.T

    def _value_after(self, position: int, index: int, terminal: Observations) -> float:
        states = self._reached(np.array([position]), np.array([index]), self.policy.obs_to_tensor(terminal)[0])
        return predicted_values(self.policy, states).item()

    def states_reached(self, obs: Observations) -> Sequences:
        """Where the environments stand after the last step.

        :param obs: of each, the next episode's where one has ended
        """
        envs = np.arange(self.buffer.n_envs)
        return self._reached(np.full_like(envs, self.buffer.pos - 1), envs, obs_as_tensor(obs, self.device))

    def _reached(self, positions: np.ndarray, envs: np.ndarray, obs: Any) -> Sequences:
        """Observations ``[n, …]`` after steps at which sequences end, as sequences of one step to be valued."""
        after = th.as_tensor(self._sequence[envs, positions], device=self.device)
        end = self._ends[0][:, after], self._ends[1][:, after]
        count = len(envs)
        return Sequences(obs, th.arange(count, device=self.device), np.ones(count, dtype=np.int64), Memory(end, end))

    def memory(self) -> Memory:
        """What the LSTMs begin the next rollout with, after the steps that were recorded of this one."""
        if self.buffer.pos == 0:
            return self.begin
        if not self.buffer.full:  # a callback has stopped it
            self._run_the_critic()
        last = th.as_tensor(self._sequence[:, -1], device=self.device)
        hidden, cell = (th.nan_to_num(states[:, last]) for states in self._ends)  # as the actor's, which saw no NaN
        return Memory(self.actor, (hidden, cell))
