"""Branches in other processes, each with its own environments and its own copy of the policy.

Branches are dealt out by their number, so results do not depend on who is faster.
"""

import pickle
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import MaskedStates, PolicyInput
from sb3_trpo.policy.copies import contents, fill, recipe
from sb3_trpo.processes import Workers, parts
from sb3_trpo.processes.messages import dump
from sb3_trpo.sampling.vine.branches import Branch, BranchResults, BranchRules, run_branches
from sb3_trpo.sampling.vine.envs import BranchEnvs, unpickled
from sb3_trpo.sampling.vine.outputs import compare, outputs
from sb3_trpo.simulators import Pickler, copy_env
from sb3_trpo.vec_env import WrapperStages


class BranchRunner:
    """What a worker keeps.

    :param pickled: environment to copy, with its wrappers
    :param policy: its class and arguments
    :param rows: environments
    """

    def __init__(self, pickled: bytes, policy: tuple[type[ActorCriticPolicy], dict[str, Any]], rows: int):
        template = unpickled(pickled)
        self.envs = [template, *(copy_env(template) for _ in range(rows - 1))]
        policy_class, arguments = policy
        self.policy = policy_class(**arguments).to("cpu")
        self.policy.set_training_mode(False)

    def run(self, common: bytes, branches: Sequence[Branch]) -> tuple[BranchResults, dict[str, np.ndarray]]:
        """Outcomes, and what the policy says of the examples.

        :param common: what every worker gets
        :param branches: this one's
        """
        given, stages, rules, examples = pickle.loads(common)
        fill(self.policy, given)
        return run_branches(self.policy, BranchEnvs(self.envs, stages), branches, rules), outputs(self.policy, *examples)


class BranchWorkers:
    """Processes that run branches.

    :param template: environment to copy, with its wrappers
    :param policy: acts; its weights are sent with every job
    :param rows: environments in each process
    :param count: processes
    """

    def __init__(self, template: gym.Env, policy: ActorCriticPolicy, rows: int, count: int):
        advice = "Training has stopped; vine_kwargs={'n_workers': 0} runs branches in this process."
        maker = BranchRunner, (dump(template, Pickler), recipe(policy), rows)
        self.workers = Workers([maker] * count, "run branches", advice)
        self.close = self.workers.close

    def run(
        self,
        policy: ActorCriticPolicy,
        stages: WrapperStages,
        branches: Sequence[Branch],
        rules: BranchRules,
        examples: tuple[PolicyInput, th.Tensor],
    ) -> BranchResults:
        """What :func:`run_branches` gives, the branches in as many parts as there are processes.

        :param examples: states and actions to try the policy with
        :raises Exception: if a process fails: AttributeError, TypeError or ValueError if it has raised one, else RuntimeError
        :raises RuntimeError: if one ends, or has another policy; in any case all of them are ended then, as they are when this
            is interrupted
        """
        states, actions = examples
        common = pickle.dumps((contents(policy), stages, rules, (_on_cpu(states), actions.cpu())))
        self.workers.take_on_surroundings()
        shares = enumerate(parts(len(branches), len(self.workers)))
        requests = {place: ("run", (common, branches[part.start : part.stop])) for place, part in shares if part}
        try:
            self.workers.send({place: pickle.dumps(request) for place, request in requests.items()})
            expected = outputs(policy, states, actions)
            results = self.workers.receive()
            for _, found in results.values():
                compare(policy, expected, found)
        except BaseException:
            self.workers.end_at_once()
            raise
        return BranchResults.joined([results[place][0] for place in sorted(results)])


def _on_cpu(states: PolicyInput) -> PolicyInput:
    if isinstance(states, MaskedStates):
        return MaskedStates(_on_cpu(states.observations), states.masks.cpu())  # type: ignore[arg-type]
    return map_parts(lambda part: part.cpu(), states)
