"""Values and log-probabilities of a rollout: at every step, as SB3 does, or after the last one, in batches."""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.observation_parts import map_parts
from sb3_trpo.policy import ParameterCopy, PolicyInput, distribution_of, is_stock_policy, numpy_actor, values_of
from sb3_trpo.policy.acting_in_workers import worker_actor
from sb3_trpo.sampling.buffers import as_drawn, is_stock_buffer
from sb3_trpo.sampling.defects import log_probs_or_nan, predicted_values
from sb3_trpo.sampling.single_path import Evaluator, Observations, Transition, finite

CHANGED = (
    "The policy's parameters were changed during a rollout. Its actions were not all drawn with the parameters that their "
    "log-probabilities are computed with: change parameters between rollouts, in a callback's on_rollout_start."
)
ROWS = 512  # a batch of this many states fills the CPU's vector units; more only takes memory
LARGEST_BATCH = 2**21  # features in a batch, where those of a state are many (one-hot states)


def make_evaluator(policy: ActorCriticPolicy, buffer: RolloutBuffer, obs: Observations, bootstrap_gamma: float) -> Evaluator:
    """The deferred evaluator where it gives what SB3's way gives, else SB3's way.

    Deferring needs a policy and a buffer whose methods and modules are the libraries' own: any other may draw noise, count
    its calls, or expect to be called at every step. A features extractor with parameters that actor and critic share gives
    both in one pass, which a second one after the rollout would only repeat.

    :param policy: whose actions are drawn, in eval mode
    :param buffer: gets actions, values and log-probabilities
    :param obs: where the rollout begins
    :param bootstrap_gamma: γ, for rewards where a time limit cut the episode; 0 leaves rewards alone
    """
    if may_defer(policy, buffer):
        return DeferredEvaluator(policy, buffer, obs, bootstrap_gamma)
    return StepwiseEvaluator(policy, buffer, bootstrap_gamma)


def may_defer(policy: ActorCriticPolicy, buffer: RolloutBuffer) -> bool:
    """Whether values and log-probabilities may wait for the end of the rollout, and gain by it."""
    shared = policy.share_features_extractor and any(True for _ in policy.features_extractor.parameters())
    return is_stock_policy(policy) and is_stock_buffer(buffer) and not shared


@th.no_grad()
def _value_at_the_end(policy: ActorCriticPolicy, terminal: Observations) -> float:
    """V of the observation at which a time limit ended an episode: it stands for the rewards that were cut off."""
    return predicted_values(policy, policy.obs_to_tensor(terminal)[0]).item()  # type: ignore[arg-type]


class StepwiseEvaluator:
    """SB3's way: one forward pass a step gives action, value and log-probability."""

    def __init__(self, policy: ActorCriticPolicy, buffer: RolloutBuffer, bootstrap_gamma: float):
        self.policy, self.buffer, self.bootstrap_gamma = policy, buffer, bootstrap_gamma
        self.device = policy.device  # SB3 searches the modules for it
        self.acted_with = ParameterCopy(policy)
        self._locals: dict[str, Any] = {}

    def act(self, obs: Observations) -> np.ndarray:
        obs_tensor = obs_as_tensor(obs, self.device)
        with th.no_grad():
            actions, values, log_probs = self._evaluate(obs_tensor)
        self._locals = {"obs_tensor": obs_tensor, "values": values, "log_probs": log_probs}
        return actions.cpu().numpy()

    def _evaluate(self, obs: Any) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Actions, values and log-probabilities."""
        return self.policy(obs)

    def record(self, step: Transition, episode_starts: np.ndarray) -> None:
        if self.bootstrap_gamma > 0.0:
            for index, terminal in step.cut_by_time_limit():
                step.rewards[index] += self.bootstrap_gamma * _value_at_the_end(self.policy, terminal)
        actions = step.actions.reshape(-1, 1) if isinstance(self.policy.action_space, spaces.Discrete) else step.actions
        values, log_probs = self._locals["values"], self._locals["log_probs"]
        self.buffer.add(step.obs, actions, step.rewards, episode_starts, values, log_probs)  # type: ignore[arg-type]

    def finish(self) -> None:
        pass

    def locals(self) -> dict[str, Any]:
        return self._locals

    def acts_elsewhere(self) -> bool:
        return is_stock_policy(self.policy)

    def actor_for(self, obs: Observations, shares: Sequence[slice]) -> Any:
        return worker_actor(self.policy, None, obs, shares, with_values=True)

    def acted(self, obs: Observations, values: np.ndarray, log_probs: np.ndarray) -> None:
        tensors = {
            "values": th.as_tensor(values, device=self.device),
            "log_probs": th.as_tensor(log_probs, device=self.device),
        }
        self._locals = {"obs_tensor": obs_as_tensor(obs, self.device), **tensors}


class DeferredEvaluator:
    """At every step only the action; values, log-probabilities and time-limit bootstraps after the last one."""

    def __init__(self, policy: ActorCriticPolicy, buffer: RolloutBuffer, obs: Observations, bootstrap_gamma: float):
        self.policy, self.buffer, self.bootstrap_gamma = policy, buffer, bootstrap_gamma
        self.device = policy.device
        self.fast = numpy_actor(policy, finite(obs))
        self.noise = iter(()) if self.fast is None else self.fast.noise(buffer.buffer_size)
        self.cuts: list[tuple[int, int, Observations]] = []
        self.acted_with = ParameterCopy(policy)

    def act(self, obs: Observations) -> np.ndarray:
        if self.fast is not None:
            return self.fast.act(obs, next(self.noise))  # type: ignore[arg-type]
        return self._draw(obs_as_tensor(obs, self.device))

    @th.no_grad()
    def _draw(self, states: PolicyInput) -> np.ndarray:
        """Actions ``[n_envs, …]`` of the policy's own distribution."""
        actions = distribution_of(self.policy, states).get_actions()
        return actions.reshape(-1, *self.policy.action_space.shape).cpu().numpy()  # type: ignore[misc]

    def record(self, step: Transition, episode_starts: np.ndarray) -> None:
        buffer, position = self.buffer, self.buffer.pos
        if isinstance(buffer.observations, dict):
            for key, array in buffer.observations.items():
                array[position] = step.obs[key].reshape(array.shape[1:])  # type: ignore[call-overload]
        else:
            buffer.observations[position] = step.obs.reshape(buffer.observations.shape[1:])  # type: ignore[union-attr]
        buffer.actions[position] = step.actions.reshape(buffer.n_envs, buffer.action_dim)
        buffer.rewards[position] = step.rewards
        buffer.episode_starts[position] = episode_starts
        if self.bootstrap_gamma > 0.0:
            self.cuts.extend((position, index, deepcopy(terminal)) for index, terminal in step.cut_by_time_limit())
        buffer.pos += 1
        buffer.full = buffer.pos == buffer.buffer_size

    @th.no_grad()
    def finish(self) -> None:
        if self.acted_with.differs(self.policy.parameters()):
            warnings.warn(CHANGED, RuntimeWarning, stacklevel=3)
        self._evaluate_path()
        for position, index, terminal in self.cuts:
            self.buffer.rewards[position, index] += self.bootstrap_gamma * self._value_after(position, index, terminal)

    def _evaluate_path(self) -> None:
        """Values and log-probabilities of all steps, into the buffer."""
        buffer, policy = self.buffer, self.policy
        rows_at_a_time = min(ROWS, max(16, LARGEST_BATCH // policy.features_dim))
        steps = max(1, rows_at_a_time // buffer.n_envs)
        for begin in range(0, buffer.pos, steps):
            rows = slice(begin, begin + steps)
            states = self._states(rows)
            actions = as_drawn(th.as_tensor(buffer.actions[rows], device=self.device).flatten(0, 1), policy.action_space)
            log_probs = log_probs_or_nan(policy, states, actions)
            buffer.log_probs[rows] = log_probs.cpu().numpy().reshape(-1, buffer.n_envs)
            buffer.values[rows] = values_of(policy, states).cpu().numpy().reshape(-1, buffer.n_envs)

    def _value_after(self, position: int, index: int, terminal: Observations) -> float:
        """V of the observation at which a time limit ended an episode of an environment, reached with some step."""
        return _value_at_the_end(self.policy, terminal)

    def _states(self, rows: slice) -> PolicyInput:
        """What the policy was given in some steps, all environments of each."""
        return self._tensors(self.buffer.observations, rows)

    def _tensors(self, observations: Observations, rows: slice) -> Any:
        """Rows of the buffer as the policy takes them, steps and environments in one dimension."""
        return map_parts(lambda part: th.as_tensor(part[rows], device=self.device).flatten(0, 1), observations)

    def locals(self) -> dict[str, Any]:
        return {}

    def acts_elsewhere(self) -> bool:
        return True

    def actor_for(self, obs: Observations, shares: Sequence[slice]) -> Any:
        return worker_actor(self.policy, self.fast, obs, shares, with_values=False)

    def acted(self, obs: Observations, values: np.ndarray, log_probs: np.ndarray) -> None:
        pass
