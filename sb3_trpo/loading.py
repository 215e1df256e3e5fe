"""A model from a file: whose it is, and whether what is to be changed on the way has an effect."""

import io
import json
import pathlib
import warnings
import zipfile
from collections.abc import Collection, Mapping
from inspect import signature
from typing import Any, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import open_path
from stable_baselines3.common.type_aliases import GymEnv

from sb3_trpo.arguments import OF_PPO, reject_unknown_arguments

_TRPOS = ("target_kl", "cg_damping", "cg_max_steps", "line_search_max_iter")  # that every TRPO saves, and no other algorithm
_OURS = "sampling"  # that sb3-contrib's TRPO does not save
_BUILDERS = ("policy", "_init_setup_model")  # arguments of the constructor that are used up when a model is made

# Where the policies of a saved PPO are from -> which PPO it was, and the TRPO for its policies
_PPOS = {
    "sb3_contrib.common.recurrent.policies": ("RecurrentPPO", "RecurrentTRPO"),
    "sb3_contrib.common.maskable.policies": ("MaskablePPO", "MaskableTRPO"),
}

Loaded = TypeVar("Loaded", bound="CheckedLoad")


def saved_attributes(path: str | pathlib.Path | io.BufferedIOBase) -> dict[str, Any]:
    """A saved model's attributes by name, as JSON holds them; empty if the file is no saved model.

    :param path: as ``load`` takes it
    """
    file = open_path(path, "r", suffix="zip")
    try:
        with zipfile.ZipFile(file) as archive:
            return json.loads(archive.read("data")) if "data" in archive.namelist() else {}
    except zipfile.BadZipFile:
        return {}
    finally:
        if file is not path:
            file.close()


class CheckedLoad(BaseAlgorithm):
    """A TRPO that is loaded from TRPO's files alone, and with changes that it knows."""

    @classmethod
    def load(
        cls: type[Loaded],
        path: str | pathlib.Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Loaded:
        """
        Load a model from a zip file of this TRPO or of sb3-contrib's.

        :param path: the file
        :param env: environments to train in, with any number of copies; None to predict
        :param device: of the networks
        :param custom_objects: what takes the place of saved objects that cannot be read
        :param print_system_info: whether to print the systems it was saved and is loaded on
        :param force_reset: whether to reset the environments before training
        :param kwargs: settings to change, by the names of the constructor's arguments or of saved attributes
        :return: the model
        :raises TypeError: for a setting that is unknown or can have no effect
        :raises ValueError: for a file of another algorithm, or a setting's value out of range
        :warns UserWarning: if ``target_kl`` was sb3-contrib's, which has another meaning where there are several actions
        """
        saved = saved_attributes(path)
        if saved:
            _check_origin(path, saved)
            _check_changes(kwargs, saved, {name for kind in cls.__mro__ for name in _arguments(kind)})
        if "stats_window_size" in kwargs:
            kwargs["_stats_window_size"] = kwargs.pop("stats_window_size")
        model = super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)
        if _OURS not in saved and "target_kl" not in kwargs:
            _warn_of_another_kl(model, [name for name in ("target_kl", "cg_damping") if name not in kwargs])
        return model


def _arguments(kind: type) -> list[str]:
    """Those of a TRPO's constructor, but not of an algorithm that it descends from."""
    own = issubclass(kind, CheckedLoad) and "__init__" in vars(kind)
    return [name for name in signature(kind).parameters if name not in _BUILDERS] if own else []


def _check_origin(path: Any, saved: Mapping[str, Any]) -> None:
    missing = [name for name in _TRPOS if name not in saved]
    if missing:
        of_ppo = "clip_range" in saved
        policy_class = saved.get("policy_class")
        module = policy_class.get("__module__", "") if isinstance(policy_class, Mapping) else ""
        saver, ours = _PPOS.get(module, ("PPO", "TRPO")) if of_ppo else ("another algorithm", "TRPO")
        advice = (
            f" To train its networks with TRPO: make a sb3_trpo.{ours} with the same policy, policy_kwargs and spaces, then "
            "model.set_parameters(path)."
        )
        raise ValueError(
            f"The model in {path} was saved by {saver}, not by TRPO: it has no {', '.join(missing)}. Load it with the class "
            f"that saved it.{advice if of_ppo else ''}"
        )


def _check_changes(changes: Mapping[str, Any], saved: Collection[str], arguments: Collection[str]) -> None:
    unknown = {
        name: value for name, value in changes.items() if name not in arguments and (name not in saved or name in OF_PPO)
    }
    for name in _BUILDERS:
        if unknown.pop(name, None) is not None:
            raise TypeError(f"{name} has no effect in load, because the file says how the model was made: leave it out.")
    reject_unknown_arguments(unknown, arguments)


def _warn_of_another_kl(model: Any, names: Collection[str]) -> None:
    """Say what sb3-contrib's settings of these names mean here, if that is something else."""
    space = model.action_space
    dimensions = spaces.flatdim(space) if isinstance(space, (spaces.Box, spaces.MultiBinary)) else 1
    if dimensions == 1:
        return
    saved = {name: getattr(model, name) for name in names}
    given = " and ".join(f"{name}={value:g}" for name, value in saved.items())
    converted = ", ".join(f"{name}={value * dimensions:g}" for name, value in saved.items())
    warnings.warn(
        f"This model was saved by sb3_contrib.TRPO, whose KL divergence is a mean over the {dimensions} action dimensions; "
        f"here it is the sum. Steps with {given}, as saved, are shorter than there. For steps of the same length: "
        f"TRPO.load(path, env, {converted}).",
        UserWarning,
        stacklevel=3,
    )
