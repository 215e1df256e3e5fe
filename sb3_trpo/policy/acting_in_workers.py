"""Acting for a share of the environments, in another process, as it would be done for all of them here.

A network gives a row of a batch outputs that depend, in their last bits, on the batch's size and the row's place, so a share
of the rows is put where it stands among all, unless every module gives it the same outputs alone. The random numbers are those
of all rows, from the same state of the generator.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.memory_order import zeros_like_rows
from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy.acting import NumpyActor
from sb3_trpo.policy.copies import Contents, contents, fill, recipe
from sb3_trpo.policy.distributions import action_distribution
from sb3_trpo.policy.observations import select
from sb3_trpo.policy.recognition import explores_by_state
from sb3_trpo.processes.messages import dump, load


class Acted(NamedTuple):
    """What a policy did in some rows.

    :param actions: ``[rows, …]``
    :param values: of the states ``[rows, 1]``, where they come with the actions, else None
    :param log_probs: of the actions ``[rows]``, likewise
    """

    actions: np.ndarray
    values: np.ndarray | None = None
    log_probs: np.ndarray | None = None


class ShareActor(Protocol):
    """Acts for a share of the rows."""

    def begin(self, rows: slice, n_steps: int, generator: th.Generator) -> None:
        """Begin a segment.

        :param rows: which of all
        :param n_steps: of the segment
        :param generator: of the random numbers of all rows
        """
        ...

    def act(self, obs: Any) -> Acted:
        """Act in the states of the share.

        :param obs: finite observations ``[rows, …]``
        """
        ...


def _in_place(part: np.ndarray, rows: slice, n_envs: int) -> np.ndarray:
    whole = zeros_like_rows(part, n_envs)
    whole[rows] = part
    return whole


class NumpyWorkerActor:
    """Of a policy that NumPy runs.

    :param actor: of all rows
    """

    def __init__(self, actor: NumpyActor):
        self.actor = actor
        self._all: np.ndarray | None = None

    def begin(self, rows: slice, n_steps: int, generator: th.Generator) -> None:
        self._rows, self._noise = rows, self.actor.noise(n_steps, generator)

    def act(self, obs: np.ndarray) -> Acted:
        vectors = obs.reshape(len(obs), -1)
        if self._all is None:
            self._all = np.zeros((self.actor.shape[0], vectors.shape[1]), dtype=np.float32)
        self._all[self._rows] = vectors
        return Acted(self.actor.act(self._all, next(self._noise))[self._rows])


class PolicyWorkerActor:
    """Of any other policy of the libraries' own making.

    :param policy: in eval mode
    :param n_envs: all rows
    :param alone: whether a share of the rows may stand alone
    :param with_values: whether values and log-probabilities come with the actions
    """

    def __init__(self, policy: ActorCriticPolicy, n_envs: int, alone: bool, with_values: bool):
        self.policy, self.n_envs, self.alone, self.with_values = policy, n_envs, alone, with_values
        self.shape = policy.action_space.shape

    def begin(self, rows: slice, n_steps: int, generator: th.Generator) -> None:
        self._rows, self._generator = rows, generator

    @th.no_grad()
    def act(self, obs: Any) -> Acted:
        rows = self._rows
        if not self.alone:
            obs = map_parts(lambda part: _in_place(part, rows, self.n_envs), obs)
        states, mine = obs_as_tensor(obs, th.device("cpu")), slice(None) if self.alone else rows
        values = self.policy(states, deterministic=True)[1][mine].numpy() if self.with_values else None
        distribution = self.policy.action_dist if self.with_values else self.policy.get_distribution(states)
        if explores_by_state(self.policy):
            actions = distribution.get_actions()
        else:
            kind = action_distribution(distribution)
            noise = kind.noise((self.n_envs,), self._generator)
            log_std = getattr(self.policy, "log_std", None)
            actions = kind.act(distribution, noise[rows] if self.alone else noise, log_std)
        log_probs = distribution.log_prob(actions)[mine].numpy() if self.with_values else None
        return Acted(actions[mine].reshape(-1, *self.shape).numpy(), values, log_probs)  # type: ignore[misc]


class PolicyRecipe(NamedTuple):
    """What a worker makes a :class:`PolicyWorkerActor` of.

    :param made_by: pickle of the policy's class and its arguments
    :param given: what else the policy is
    """

    made_by: bytes
    given: Contents
    n_envs: int
    alone: bool
    with_values: bool

    @classmethod
    def of(cls, policy: ActorCriticPolicy, obs: Any, shares: Sequence[slice], with_values: bool) -> "PolicyRecipe":
        """For a rollout.

        :param policy: in eval mode
        :param obs: where the rollout begins ``[n_envs, …]``
        :param shares: rows of each worker
        :param with_values: whether values and log-probabilities come with the actions
        """
        states = obs_as_tensor(obs, policy.device)
        alone = policy.device.type == "cpu" and not explores_by_state(policy) and _may_stand_alone(policy, states, shares)
        n_envs = max(share.stop for share in shares)
        return cls(dump(recipe(policy)), contents(policy), n_envs, alone, with_values)

    def share(self, kept: dict[str, Any]) -> PolicyWorkerActor:
        """What acts.

        :param kept: has the policy of the rollout before, which may be filled anew
        """
        if kept.get("made_by") != self.made_by:
            policy_class, arguments = load(self.made_by)
            policy = policy_class(**arguments).to("cpu")
            policy.set_training_mode(False)
            kept.update(made_by=self.made_by, policy=policy)
        fill(kept["policy"], self.given)
        return PolicyWorkerActor(kept["policy"], self.n_envs, self.alone, self.with_values)


@th.no_grad()
def _may_stand_alone(policy: ActorCriticPolicy, states: Any, shares: Sequence[slice]) -> bool:
    """Whether every module gives the rows of each share, alone, what it gives them among all, bit for bit."""
    outputs: list[th.Tensor] = []
    leaves = [module for module in policy.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(lambda _, __, output: outputs.append(output)) for module in leaves]
    try:
        policy(states, deterministic=True)
        among_all = outputs[:]
        for share in shares:
            outputs.clear()
            policy(select(states, share), deterministic=True)
            if not all(th.equal(output, whole[share]) for output, whole in zip(outputs, among_all, strict=True)):
                return False
    finally:
        for hook in hooks:
            hook.remove()
    return True


def worker_actor(
    policy: ActorCriticPolicy, fast: NumpyActor | None, obs: Any, shares: Sequence[slice], with_values: bool
) -> Any:
    """What is sent to the workers: a :class:`NumpyWorkerActor`, or a :class:`PolicyRecipe`."""
    return PolicyRecipe.of(policy, obs, shares, with_values) if fast is None else NumpyWorkerActor(fast)
