"""The actions that branches begin with: which are tried in each state, and with what density they were drawn."""

from typing import NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import BernoulliDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.discrete import action_dims, all_actions, are_possible, possible_counts, random_actions
from sb3_trpo.policy import MaskedStates, PolicyInput, action_distribution, count, distribution_of, draw_noise
from sb3_trpo.sampling.vine.settings import VineSettings


class FirstActions(NamedTuple):
    """K actions in each of N states.

    :param actions: as the distribution's ``log_prob`` takes them ``[N, K, …]``
    :param log_proposal: log q of each, the density they were drawn with ``[N, K]``, nats; None if all were taken
    :param possible: which a state's mask leaves ``[N, K]``, no branch begins with another; None: all
    """

    actions: th.Tensor
    log_proposal: th.Tensor | None
    possible: th.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """N and K."""
        return self.actions.shape[:2]  # type: ignore[return-value]

    def places(self) -> list[tuple[int, int]]:
        """State and number of each action that a branch begins with, in the order of the branches."""
        possible = np.ones(self.shape, dtype=bool) if self.possible is None else self.possible.cpu().numpy()
        return [(int(state), int(number)) for state, number in np.argwhere(possible)]


def first_actions(
    policy: ActorCriticPolicy, states: PolicyInput, settings: VineSettings, rng: np.random.Generator
) -> FirstActions:
    """Actions to try in N states.

    All of a discrete space; or, drawn independently, uniformly from a discrete space and from the policy itself for a
    continuous one, as the paper does. Where there are masks, of the possible ones.
    """
    if settings.branches_per_state == "all":
        return _every_action(policy, states)
    n_branches = int(settings.branches_per_state)  # type: ignore[arg-type]
    if isinstance(policy.action_space, spaces.Box):
        return _drawn_from_the_policy(policy, states, n_branches, rng)
    return _drawn_uniformly(policy, states, n_branches, rng)


def _every_action(policy: ActorCriticPolicy, states: PolicyInput) -> FirstActions:
    components = all_actions(policy.action_space)
    every = _as_given(policy, components)
    masks = _masks(states)
    possible = None if masks is None else are_possible(policy.action_space, components, masks)
    known = None if possible is None or possible.all() else th.as_tensor(possible, device=policy.device)
    return FirstActions(every.expand(count(states), *every.shape), None, known)


def _drawn_uniformly(
    policy: ActorCriticPolicy, states: PolicyInput, n_branches: int, rng: np.random.Generator
) -> FirstActions:
    space, masks = policy.action_space, _masks(states)
    shape = count(states), n_branches
    sizes = np.array([action_dims(space)]) if masks is None else possible_counts(space, masks)
    log_proposal = np.broadcast_to(-np.log(sizes).sum(axis=1, keepdims=True), shape)
    actions = _as_given(policy, random_actions(space, rng, shape, masks))
    return FirstActions(actions, th.tensor(log_proposal, dtype=th.float32, device=policy.device))


@th.no_grad()
def _drawn_from_the_policy(
    policy: ActorCriticPolicy, states: PolicyInput, n_branches: int, rng: np.random.Generator
) -> FirstActions:
    noise = th.as_tensor(draw_noise(policy, rng, (n_branches, count(states))), device=policy.device)
    distribution = distribution_of(policy, states)
    kind, log_std = action_distribution(distribution), getattr(policy, "log_std", None)
    tried = [kind.act(distribution, each, log_std) for each in noise]
    return FirstActions(th.stack(tried, dim=1), th.stack([distribution.log_prob(actions) for actions in tried], dim=1))


def _masks(states: PolicyInput) -> np.ndarray | None:
    return states.masks.cpu().numpy() if isinstance(states, MaskedStates) else None


def _as_given(policy: ActorCriticPolicy, actions: np.ndarray) -> th.Tensor:
    """Outcomes of action components ``[…, d]`` as the distribution gives actions: a number for Discrete, floats for coins."""
    tensor = th.as_tensor(actions, device=policy.device)
    if isinstance(policy.action_space, spaces.Discrete):
        return tensor[..., 0]
    return tensor.float() if isinstance(policy.action_dist, BernoulliDistribution) else tensor
