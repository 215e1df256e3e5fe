"""The vine's trunk (paper, Figure 1): the states of a rollout that branches begin in."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import MaskedStates, PolicyInput
from sb3_trpo.sampling.masks import RolloutMasks
from sb3_trpo.sampling.samples import single_precision
from sb3_trpo.sampling.single_path import Transition
from sb3_trpo.vec_env import RowState, clone_row_models, clone_rows


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
        """Save the chosen states, each just before the step that leaves it.

        :param path: its steps
        :return: the same steps
        """
        self._save(0)
        for step, transition in enumerate(path, start=1):
            yield transition
            self._save(step)

    def due(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Steps and environments of the chosen states of a part of the rollout.

        :param begin: first step
        :param end: the step after the last one
        """
        first, last = np.searchsorted(self.chosen, [begin * self.n_envs, end * self.n_envs])
        return self.places[first:last]

    def take(self, states: Sequence[RowState]) -> None:
        """Keep states that were saved in other processes.

        :param states: the next of the chosen ones, in order
        """
        for (_, index), state in zip(self.places[len(self.states) :], states, strict=False):
            self.states.append(state._replace(models=self._models[index]))

    def _save(self, step: int) -> None:
        due = self.due(step, step + 1)
        if due and self.places[len(self.states) :][:1] == due[:1]:
            self.take(clone_rows(self.env, [index for _, index in due]))

    def policy_input(self, buffer: RolloutBuffer, masks: RolloutMasks | None) -> PolicyInput:
        """What the policy was given in the chosen states.

        :param buffer: full, and not yet read from
        :param masks: of the rollout; None: every action was possible
        """
        rows = np.divmod(self.chosen, self.n_envs)
        observations = map_parts(lambda array: single_precision(array[rows], buffer.device), buffer.observations)
        if masks is None:
            return observations
        return MaskedStates(observations, th.as_tensor(masks.masks[rows], device=buffer.device))
