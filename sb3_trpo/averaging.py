"""Averaging of policies (Polyak and Juditsky 1992): training goes on from the last one, and their average acts elsewhere.

Every update goes as far as the trust region allows, along an estimate from one rollout. So the policies move around the place
where they are better than each of them, and their average lies nearer to it.
"""

from copy import copy, deepcopy
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.policy import Actor
from sb3_trpo.trust_region import flatten, unflatten


class AveragingAlgorithm(OnPolicyAlgorithm):
    """An algorithm that acts by the running average of its policies, except in training.

    The subclass calls ``_average_policies`` after each update. What is kept is saved with the model, in types that every SB3
    algorithm reads.
    """

    averaging: float
    policy: ActorCriticPolicy
    _average: dict[str, Any] | None = None  # names of θ's parameters, their mean, and where the last update ended
    _averaged_policy: ActorCriticPolicy | None = None

    def _average_policies(self, actor: Actor, before: th.Tensor) -> None:
        """θ̄ ← c θ̄ + (1 − c) θ. The average begins anew where anything but an update has moved θ.

        :param actor: after the update
        :param before: θ before the update ``[N]``
        """
        kept, self._average, self._averaged_policy = self._average, None, None
        if not self.averaging:
            return
        own = {id(parameter) for parameter in actor.parameters}
        names = [name for name, parameter in self.policy.named_parameters() if id(parameter) in own]
        theta = actor.theta.cpu()
        goes_on = kept is not None and kept["names"] == names and th.equal(kept["last"], before.cpu())
        mean = th.lerp(theta, kept["mean"], self.averaging) if goes_on else theta  # type: ignore[index]
        self._average = {"names": names, "mean": mean, "last": theta}

    @property
    def averaged_policy(self) -> ActorCriticPolicy:
        """What :meth:`predict` acts by: a copy of ``policy``, without optimizer, with the average θ̄ of its actor's parameters.

        It is ``policy`` itself with ``averaging=0``, before the first update, and when anything but an update has changed the
        parameters.
        """
        kept = self._average
        if kept is None or not th.equal(kept["last"], flatten(self._parameters(self.policy, kept["names"])).cpu()):
            return self.policy
        if self._averaged_policy is None:
            elsewhere = dict.fromkeys(map(id, (self.policy.action_dist, self.policy.optimizer)))  # None in the copy
            self._averaged_policy = deepcopy(self.policy, elsewhere)
            parameters = self._parameters(self._averaged_policy, kept["names"])
            for parameter, value in zip(parameters, unflatten(kept["mean"], parameters), strict=True):
                parameter.copy_(value)
        self._averaged_policy.action_dist = copy(self.policy.action_dist)  # gSDE's present noise is in it
        return self._averaged_policy

    @staticmethod
    def _parameters(policy: ActorCriticPolicy, names: list[str]) -> list[th.Tensor]:
        return [policy.get_parameter(name).detach() for name in names]

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        Actions for observations, of the policy or, with ``averaging``, of the average of the policies.

        :param observation: of one environment or of several
        :param state: of a recurrent policy, from the last call; None at first
        :param episode_start: whether an episode begins ``[n_envs]``, for a recurrent policy
        :param deterministic: whether to take the likeliest action
        :return: actions, and the next state
        """
        return self.averaged_policy.predict(observation, state, episode_start, deterministic)
