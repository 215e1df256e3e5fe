"""Checks of a model's settings, in the constructor and before every use. Each error names the fix."""

import math
import warnings
from collections.abc import Collection, Mapping
from copy import copy
from inspect import Parameter, signature
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.checks import check_count, check_flag, check_real, check_type
from sb3_trpo.equality import same
from sb3_trpo.sampling import SAMPLERS, VineSettings
from sb3_trpo.schedules import SCHEDULABLE, check_schedule, is_schedule
from sb3_trpo.vec_env import innermost

CHOICES: dict[str, Collection[str]] = {"advantage_estimator": ("gae", "monte_carlo"), "sampling": SAMPLERS}

_ACTION_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)

# name -> (lowest allowed, whether it is allowed itself, highest allowed, whether it is allowed itself)
_REALS = {
    "target_kl": (0.0, False, math.inf, False),
    "cg_damping": (0.0, True, math.inf, False),
    "line_search_shrinking_factor": (0.0, False, 1.0, False),
    "gamma": (0.0, True, 1.0, True),
    "gae_lambda": (0.0, True, 1.0, True),
    "fisher_sample_fraction": (0.0, False, 1.0, True),
    "ent_coef": (-math.inf, False, math.inf, False),
}

_COUNTS = {
    "n_steps": 1,
    "batch_size": 1,
    "cg_max_steps": 1,
    "line_search_max_iter": 1,
    "n_critic_updates": 0,
    "sub_sampling_factor": 1,
    "_stats_window_size": 1,
    "sde_sample_freq": -1,
}

_FLAGS = ("normalize_advantage", "use_sde")

# What the policy and the rollout buffer were made of: no later change reaches them
_USED_AT_CONSTRUCTION = ("policy_class", "policy_kwargs", "use_sde", "rollout_buffer_class", "rollout_buffer_kwargs")

# Numbers that no callback can change: the rollout buffer and the episode statistics were made with them
_UNCHANGEABLE = ("n_steps", "_stats_window_size")

# Settings that something else has a copy of, which follows a change
_COPIED_ELSEWHERE = ("learning_rate", "lr_schedule", "gamma", "gae_lambda")

# Parameters of a policy's methods beside the observation, and the class that gives them
_EXTRA_POLICY_INPUTS = {
    "action_masks": "MaskableTRPO (MaskableRecurrentTRPO if it is recurrent, too)",
    "lstm_states": "RecurrentTRPO (MaskableRecurrentTRPO if it takes masks, too)",
    "episode_starts": "RecurrentTRPO (MaskableRecurrentTRPO if it takes masks, too)",
}


def check_action_space(env: Any) -> None:
    """Refuse an environment whose actions no distribution here covers, before anything is built.

    :param env: gymnasium's or SB3's; anything else is SB3's to convert or to refuse
    :raises ValueError: naming the space and what to do
    """
    if not isinstance(env, (gym.Env, VecEnv)):
        return
    space = env.action_space
    if not isinstance(space, _ACTION_SPACES):
        raise ValueError(
            f"TRPO cannot act in the action space {space}. Allowed are Box, Discrete, MultiDiscrete and MultiBinary: "
            "flatten a Tuple or Dict action space with a wrapper, into one Box or one MultiDiscrete."
        )
    if isinstance(space, spaces.Box) and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError(
            f"The Box action space {space} has an infinite bound. Actions are clipped to the bounds: give it finite ones, "
            f"for example with gymnasium.wrappers.TransformAction(env, lambda action: action, Box(-1.0, 1.0, {space.shape}))."
        )
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) and len(space.shape) != 1:
        raise ValueError(f"The action space {space} has more than one dimension: flatten it with a wrapper, into one.")
    if np.any(getattr(space, "start", 0)):
        raise ValueError(
            f"The actions of {space} do not begin at 0, as those of Stable-Baselines3's distributions do: add the start in a "
            "wrapper, and let its action space begin at 0."
        )


def check_settings(model: Any) -> None:
    """Check every option of a model that is about to be set up.

    :param model: its attributes are checked
    :raises TypeError: for a value of the wrong type
    :raises ValueError: for a value out of range, saying what was given, what is allowed and what to do
    """
    settings = vars(model)
    for name in ("learning_rate", *SCHEDULABLE):
        if isinstance(settings[name], (str, type(None))):  # RL Zoo's files have texts; PPO's target_kl may be None
            kind = type(settings[name]).__name__
            raise TypeError(
                f"{name}={settings[name]!r} is of type {kind}: give a number, or a function of the remaining progress, 1 to 0."
            )
    for name in (*_REALS, *_COUNTS):
        _check_no_schedule(name, settings[name])
    for name, (low, low_allowed, high, high_allowed) in _REALS.items():
        if is_schedule(name, settings[name]):
            check_schedule(name, settings[name], progress=1.0)
        else:
            check_real(name, settings[name], low, low_allowed, high, high_allowed)
    for name, least in _COUNTS.items():
        check_count(name.lstrip("_"), settings[name], least)
    for name in _FLAGS:
        check_flag(name, settings[name])
    rate, progress = settings["learning_rate"], model._current_progress_remaining
    if callable(rate):
        check_real(f"learning_rate({progress:g})", rate(progress), 0.0, True, math.inf, False)
    else:
        check_real("learning_rate", rate, 0.0, True, math.inf, False)
    if settings["seed"] is not None:
        check_count("seed", settings["seed"], 0)
    for name, allowed in CHOICES.items():
        if settings[name] not in allowed:
            raise ValueError(f"{name}={settings[name]!r} is unknown: use one of {', '.join(allowed)}.")
    _check_vine(settings)
    policy_kwargs = settings["policy_kwargs"]
    check_type("policy_kwargs", policy_kwargs, Mapping, "a dict")
    if policy_kwargs.get("squash_output") and not settings["use_sde"]:
        raise ValueError("policy_kwargs has squash_output=True, which needs use_sde=True: SB3 squashes gSDE's actions only.")
    _check_policy(model)
    _check_batch(settings)


def _check_no_schedule(name: str, value: Any) -> None:
    """Refuse a function of the progress, or RL Zoo's text for one, and say how a setting is changed during training."""
    if (callable(value) or str(value).startswith("lin_")) and name not in (*_UNCHANGEABLE, *SCHEDULABLE):
        raise TypeError(
            f"{name}={value!r} is a schedule, which only learning_rate, {', '.join(SCHEDULABLE)} may be. To change {name} "
            f"during training, use a callback: def _on_rollout_start(self): self.model.{name} = ..., for example a function "
            "of self.num_timesteps. It holds from that rollout and its update on."
        )


class KeptSettings:
    """The settings that a model was made with: what is changed later is checked, and taken over or refused.

    :param model: set up
    """

    def __init__(self, model: Any):
        self._used = {name: copy(getattr(model, name)) for name in _USED_AT_CONSTRUCTION}
        self._copied = {name: getattr(model, name) for name in _COPIED_ELSEWHERE}

    def apply_changes(self, model: Any) -> None:
        """Check all settings; pass a changed rate, γ or λ on to the schedule and the rollout buffer, which hold copies.

        :raises TypeError: for a value of the wrong type
        :raises ValueError: for a value out of range, a change that would have no effect, or a model without environments
        """
        if model.env is None:
            raise ValueError(
                "The model was loaded without environments to train in: give them to load(path, env), or call set_env(env)."
            )
        if innermost(model.env) is None:
            raise ValueError(
                f"The model's {type(model.env).__name__} has no environments inside, for example because it was pickled: give "
                "it some with model.env.set_venv(venv), or call set_env(env)."
            )
        check_settings(model)
        for name, value in self._used.items():
            if not same(getattr(model, name), value):
                raise ValueError(
                    f"{name}={getattr(model, name)!r} has no effect: the model was made with {name}={value!r}. Make a new "
                    "model with it, and copy parameters with set_parameters where the networks have the same shapes."
                )
        changed = {name for name in _COPIED_ELSEWHERE if getattr(model, name) != self._copied[name]}
        if changed & {"learning_rate", "lr_schedule"} == {"learning_rate"}:
            model._setup_lr_schedule()
        for name in changed & {"gamma", "gae_lambda"}:
            setattr(model.rollout_buffer, name, getattr(model, name))
        self._copied = {name: getattr(model, name) for name in _COPIED_ELSEWHERE}


def _check_policy(model: Any) -> None:
    """Refuse a policy that needs more than it is given (masks, an LSTM's state), or that is of another kind."""
    policy_class, base = model.policy_class, model.policy_base
    name_of_policy = getattr(policy_class, "__name__", policy_class)
    for method in ("forward", "get_distribution"):
        function = getattr(policy_class, method, None)
        for name, parameter in list(signature(function).parameters.items())[2:] if callable(function) else ():
            named = parameter.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
            missing = name not in model.extra_policy_inputs
            if named and missing and (name in _EXTRA_POLICY_INPUTS or parameter.default is Parameter.empty):
                instead = _EXTRA_POLICY_INPUTS.get(name, "another algorithm")
                raise ValueError(
                    f"The policy {name_of_policy} takes {name} beside the observation in {method}, which this algorithm "
                    f"cannot give: use {instead}, or a policy that acts on the observation alone."
                )
    if not (isinstance(policy_class, type) and issubclass(policy_class, base)):
        raise ValueError(
            f"{type(model).__name__} needs a policy derived from {base.__module__}.{base.__name__}, not {name_of_policy}: "
            f"use {', '.join(model.policy_aliases)}, or a subclass."
        )


def warn_of_action_masks(env: VecEnv | None, instead: str | None) -> None:
    """Warn if the environment tells which actions are allowed, and the algorithm does not ask it.

    :param env: the training environments with their wrappers
    :param instead: the class that does; None for an algorithm that asks
    :warns UserWarning: if any of its layers has a method ``action_masks``
    """
    try:
        masked = instead is not None and env is not None and (hasattr(env, "action_masks") or env.has_attr("action_masks"))
    except Exception:  # not every VecEnv can be asked
        return
    if masked:
        warnings.warn(
            "The environment has action_masks(), but this algorithm does not use masks: it will also take actions that they "
            f"forbid. Use sb3_trpo.{instead}, or let the environment give forbidden actions a meaning.",
            UserWarning,
            stacklevel=3,
        )


def _check_vine(settings: Mapping[str, Any]) -> None:
    """Check the vine's options, and that there is a vine to have them.

    :param settings: the model's attributes by name
    :raises TypeError: for a value of the wrong type
    :raises ValueError: for an unknown option, a value out of range, or options without ``sampling="vine"``
    """
    given = settings["vine_kwargs"]
    check_type("vine_kwargs", given, (Mapping, type(None)), "a dict, or None")
    if given and settings["sampling"] == "single_path":
        raise ValueError(
            'vine_kwargs has no effect with sampling="single_path": leave it out, or set sampling="vine"; a model that was '
            "saved with them, load with vine_kwargs=None."
        )
    if settings["sampling"] == "vine" and settings["env"] is not None:
        VineSettings.of(given, settings["env"].action_space, settings["n_steps"] * settings["n_envs"])


def _check_batch(settings: Mapping[str, Any]) -> None:
    n_steps, n_envs, factor = settings["n_steps"], settings["n_envs"], settings["sub_sampling_factor"]
    buffer_size = n_steps * n_envs
    if settings["normalize_advantage"] and -(-buffer_size // factor) < 2:
        raise ValueError(
            f"n_steps * n_envs / sub_sampling_factor = {n_steps} * {n_envs} / {factor} leaves one sample, whose advantage "
            "cannot be normalised: raise n_steps, or set normalize_advantage=False."
        )


def warn_of_truncated_minibatches(settings: Mapping[str, Any]) -> None:
    """Say so if the critic's last minibatch of a pass is smaller than the others.

    :param settings: the model's attributes by name
    :warns UserWarning: if it is
    """
    n_steps, n_envs, n_ranks, batch_size = (settings[name] for name in ("n_steps", "n_envs", "_n_ranks", "batch_size"))
    buffer_size = n_steps * n_envs * n_ranks
    of_ranks = f" * {n_ranks} ranks" if n_ranks > 1 else ""
    truncated = buffer_size % batch_size
    if truncated:
        warnings.warn(
            f"The critic's minibatches of batch_size={batch_size} do not divide the rollout of n_steps * n_envs = "
            f"{n_steps} * {n_envs}{of_ranks} = {buffer_size} steps: the last minibatch of every pass has {truncated} steps. "
            f"Choose a batch_size that divides {buffer_size}.",
            UserWarning,
            stacklevel=3,
        )
