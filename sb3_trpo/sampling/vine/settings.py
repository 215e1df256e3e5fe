"""Options of the vine, checked and filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import prod
from typing import Any

from gymnasium import spaces

from sb3_trpo.checks import check_count, check_flag
from sb3_trpo.discrete import action_dims

FEW_ACTIONS = 8  # up to so many, all are tried by default
BRANCH_SHARE = 1  # branch steps for each step of the trunk, by default


@dataclass(frozen=True)
class VineSettings:
    """Options of the vine; the defaults are those with which Hopper learned most in ``benchmarks/learning/vine_defaults.py``.

    :param n_states: N, states to branch from in every iteration, at least 1; None for as many as make the branches take
        about as many steps as the trunk, if they run to their full length and all actions are possible
    :param branches_per_state: K ≥ 2 actions tried in each state, or ``"all"`` for every possible discrete action once;
        None for all where there are at most eight, else 4
    :param branch_length: m ≥ 1, most steps of a branch, its first action included
    :param bootstrap: whether the critic stands in for what comes after a branch that was cut
    :param common_random_numbers: whether the branches of a state share the policy's noise, from the second step on, and the
        simulator's randomness
    :param n_workers: processes that run branches, each with a policy that its class makes anew; 0 for none beside this one
    """

    n_states: int | None = None
    branches_per_state: int | str | None = None
    branch_length: int = 10
    bootstrap: bool = True
    common_random_numbers: bool = True
    n_workers: int = 0

    @classmethod
    def of(cls, given: Mapping[str, Any] | None, action_space: spaces.Space, trunk_steps: int) -> "VineSettings":
        """Check what a user gives and fill in what depends on the environment.

        :param given: options by name; None for none
        :param action_space: of the environment
        :param trunk_steps: n_steps · n_envs
        :raises ValueError: for an unknown name or a value out of range, saying what is allowed
        :raises TypeError: for a value of the wrong type
        """
        allowed = [field.name for field in fields(cls)]
        unknown = [name for name in given or {} if name not in allowed]
        if unknown:
            raise ValueError(f"vine_kwargs has no option {', '.join(map(repr, unknown))}: use {', '.join(allowed)}.")
        settings = cls(**(given or {}))
        for name, least in (("n_states", 1), ("branch_length", 1), ("n_workers", 0)):
            value = getattr(settings, name)
            if not (value is None and name == "n_states"):
                check_count(f"vine_kwargs: {name}", value, least)
        for name in ("bootstrap", "common_random_numbers"):
            check_flag(f"vine_kwargs: {name}", getattr(settings, name))
        branches = _branches_per_state(settings.branches_per_state, action_space)
        n_branches = prod(action_dims(action_space)) if branches == "all" else int(branches)
        n_states = settings.n_states
        if n_states is None:
            n_states = min(trunk_steps, max(1, round(BRANCH_SHARE * trunk_steps / (n_branches * settings.branch_length))))
        if n_states > trunk_steps:
            raise ValueError(
                f"vine_kwargs: n_states={n_states} is more than the {trunk_steps} states of the trunk (n_steps * n_envs): "
                "lower n_states or raise n_steps."
            )
        return replace(settings, n_states=n_states, branches_per_state=branches)


def _branches_per_state(given: Any, space: spaces.Space) -> int | str:
    continuous = isinstance(space, spaces.Box)
    if given is None:
        return "all" if not continuous and prod(action_dims(space)) <= FEW_ACTIONS else 4
    if given == "all":
        if continuous:
            raise ValueError(
                f"vine_kwargs: branches_per_state='all' needs a discrete action space, not {space}: give a count, at least 2."
            )
        return "all"
    if isinstance(given, str):
        raise ValueError(f"vine_kwargs: branches_per_state={given!r} is unknown: give a count of at least 2, or 'all'.")
    check_count("vine_kwargs: branches_per_state", given, 2)
    return int(given)
