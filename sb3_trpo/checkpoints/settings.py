"""What a run was made with, and whether it goes on with the same: settings are refused by name, versions are told."""

import inspect
import platform
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch as th
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.equality import same
from sb3_trpo.vec_env import describe_wrappers

PACKAGES = ("sb3_trpo", "stable_baselines3", "torch", "numpy", "gymnasium", "mujoco", "ale_py", "sb3_contrib")
_WITHOUT_EFFECT = ("verbose", "_init_setup_model")  # on where a run ends
_POINTS = (1.0, 0.7, 0.3, 0.0)  # of the remaining progress, where schedules are compared


def versions() -> dict[str, str]:
    """Of all that results depend on, bit for bit, beside settings."""
    machine = {"Python": platform.python_version(), "processor": platform.machine(), "threads": str(th.get_num_threads())}
    return machine | _packages()


@cache
def _packages() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def warn_of_versions(saved: Mapping[str, str]) -> None:
    """Say what is not as it was when the checkpoint was saved."""
    now = versions()
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    changed = [f"{name} {saved.get(name, 'none')} (now {now.get(name, 'none')})" for name in names]
    if changed:
        warnings.warn(
            f"The checkpoint was saved with {', '.join(changed)}. The run goes on, but its "
            "result may differ from that of an uninterrupted run.",
            UserWarning,
            stacklevel=4,
        )


def check_settings(
    algorithm: type[OnPolicyAlgorithm],
    saved: Mapping[str, Any],
    given: Mapping[str, Any],
    env: VecEnv,
    about: Mapping[str, Any],
) -> None:
    """Refuse settings that are not those of the checkpoint.

    :param algorithm: whose settings they are
    :param saved: the attributes in the checkpoint's zip, those that are to be changed already changed
    :param given: settings that the caller believes to go on with
    :param env: the environments to go on in
    :param about: what the manifest says
    :raises TypeError: for a setting that the algorithm does not have
    :raises ValueError: naming the setting, both values and what to do
    """
    known = [name for name in inspect.signature(algorithm.__init__).parameters if name not in ("self", "policy", "env")]
    if about["algorithm"] != algorithm.__name__:
        raise ValueError(f"The run is one of {about['algorithm']}, not of {algorithm.__name__}: resume it with that class.")
    for name, value in given.items():
        if name not in known:
            raise TypeError(f"{algorithm.__name__} has no setting {name}: give one of {', '.join(known)}.")
        was = saved.get("_stats_window_size" if name == "stats_window_size" else name)  # SB3's attribute
        chosen_by_sb3 = value is None and (was == {} or name == "rollout_buffer_class")
        if name not in _WITHOUT_EFFECT and not chosen_by_sb3 and not _same(was, value):
            raise _different(name, was, value)
    if saved["n_envs"] != env.num_envs:
        raise _different("n_envs", saved["n_envs"], env.num_envs)
    if about["wrappers"] != describe_wrappers(env) and "wrappers" not in saved:
        raise _different("wrappers", about["wrappers"], describe_wrappers(env))


def _different(name: str, saved: Any, given: Any) -> ValueError:
    other = (
        "leave it out: the checkpoint has it, and networks are not changed on the way"
        if name == "policy_kwargs"
        else f"ask for the change by name with changes={{{name!r}: …}}"
    )
    return ValueError(
        f"The run was saved with {name}={saved!r}, and is to go on with {given!r}: its result would differ from that of "
        f"an uninterrupted run. Give it the same, or {other}."
    )


def _same(saved: Any, given: Any) -> bool:
    """Whether two settings are equal; functions of the remaining progress, where they have the same values."""
    schedules = [value for value in (saved, given) if callable(value) and not isinstance(value, type)]
    if schedules:  # of which one may be a constant
        values = [[value(point) if callable(value) else value for point in _POINTS] for value in (saved, given)]
        return values[0] == values[1]
    return same(saved, given)
