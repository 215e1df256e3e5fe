"""Branches taken again where the training environments are, with the same actions: they lead to the same, or are refused.

Processes may differ in what no state holds: a module's variable that a script has set, class attributes, the hash seed.
Whether an environment depends on that is seen in what it does. These steps are not learned from, and not counted.
"""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_trpo.processes import parts
from sb3_trpo.sampling.vine.branches import Branch, BranchResults, BranchRules, Paths
from sb3_trpo.simulators import Replayed, replay
from sb3_trpo.vec_env import call_cloneable

FIRST_TRIED = 32  # branches of each process, at most, in the first iteration
BRANCHES_PER_TRIAL = 128  # one of so many later, and at least one of each process


class Trials:
    """Takes some branches of every iteration again: where the training environments are, if branches run elsewhere.

    :param env: the training environments
    :param template: to try branches in, if the training environments are in this process
    :param n_workers: processes that run branches, 0 for this one
    """

    def __init__(self, env: VecEnv, template: gym.Env, n_workers: int):
        self.env, self.template, self.n_workers = env.unwrapped, template, n_workers
        self._rng, self._turn = np.random.default_rng(0), 0

    def check(self, branches: Sequence[Branch], results: BranchResults, owners: Sequence[int], rules: BranchRules) -> None:
        """Try some branches.

        :param branches: J branches
        :param results: what came of them
        :param owners: the training environment that each one's state was saved in ``[J]``
        :param rules: that they followed
        :raises RuntimeError: if one leads elsewhere; the message names the output, the step, and what to do
        """
        there = not isinstance(self.env, DummyVecEnv)
        if not (self.n_workers or there):
            return
        for part in filter(None, parts(len(branches), max(1, self.n_workers))):
            for index in self._choose(results.returns[part.start : part.stop]) + part.start:
                path = results.paths.of(index)
                masked = rules.action_dims is not None
                arguments = (branches[index].state.env, branches[index].state.models, path.actions, masked)
                if there:
                    (replayed,) = call_cloneable(self.env, "replay", [owners[index]], arguments)
                else:
                    replayed = replay(self.template, *arguments)
                found = _difference(
                    path, bool(results.terminated[index]), replayed, rules.length, self.template.observation_space
                )
                if found is not None:
                    raise RuntimeError(
                        "A branch was taken again in the process of the training environment, with the same actions from the "
                        f"same state, and {found}. The environment depends on something that processes do not share: a "
                        "variable of a module or an attribute of a class that was set after import, an environment variable, "
                        "the working directory, the order of a set (which PYTHONHASHSEED decides). Set it in the "
                        "environment's constructor, or use one process: a DummyVecEnv, and 'n_workers': 0 in vine_kwargs."
                    )
        self._turn += 1

    def _choose(self, returns: np.ndarray) -> np.ndarray:
        """Any branches; in turn, the best or the worst one, because rare events are found there."""
        others = self._rng.permutation(len(returns))
        special = (others[-1], returns.argmax(), returns.argmin())[self._turn % 3]
        count = FIRST_TRIED if self._turn == 0 else -(-len(returns) // BRANCHES_PER_TRIAL)
        return np.unique([special, *others[: count - 1]])


def _difference(path: Paths, terminated: bool, replayed: list[Replayed], length: int, space: spaces.Space) -> str | None:
    """The first output that is not as it was, bit for bit, or None."""
    keys = [f"observation[{key!r}]" for key in space] if isinstance(space, spaces.Dict) else ["observation"]
    last = len(path.rewards) - 1
    for step, outputs in enumerate(replayed):
        for key, before, after in zip(keys, path.digests[step], outputs.observation, strict=True):
            if before != after:
                return f"the {key} of step {step} was another"
        if path.rewards[step].tobytes() != np.float64(outputs.reward).tobytes():
            return f"the reward of step {step} was {outputs.reward}, not {path.rewards[step]}"
        if outputs.terminated != (terminated and step == last):
            return f"step {step} {'terminated' if outputs.terminated else 'did not terminate'} the episode"
        if not outputs.terminated and step + 1 < length and outputs.truncated != (step == last):
            return f"step {step} {'truncated' if outputs.truncated else 'did not truncate'} the episode"
    return None
