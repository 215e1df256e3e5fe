"""Mistakes on the command line, found before RL Zoo stumbles over them: each function raises a ValueError naming the fix."""

import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import rl_zoo3.import_envs  # noqa: F401  (registers what is installed)
import torch as th

# Names of environments that a package of their own registers, that package, and how to get it
FAMILIES = {
    r"ALE/|.*(NoFrameskip|Deterministic)-v\d$": ("ale_py", 'pip install "sb3_trpo[atari]"'),
    r".*Bullet(Duck)?Env-v\d$": ("pybullet_envs_gymnasium", "pip install pybullet_envs_gymnasium"),
    r"(MiniGrid|BabyAI)-": ("minigrid", "pip install minigrid"),
}


def check_environment(env_id: str, gym_packages: Sequence[str]) -> None:
    """Whether there is such an environment.

    :param env_id: its registered id
    :param gym_packages: modules that register further environments
    """
    for package in gym_packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ValueError(f"--gym-packages {package}: {error}") from None
    if env_id in gym.registry:
        return
    for pattern, (package, install) in FAMILIES.items():
        if re.match(pattern, env_id) and not is_installed(package):
            raise ValueError(f"{env_id} needs the package {package}: {install}")
    closest = difflib.get_close_matches(env_id, gym.registry, n=1)
    advice = f"did you mean {closest[0]}?" if closest else "name the module that registers it with --gym-packages."
    raise ValueError(f"there is no environment {env_id}: {advice}")


def check_made(env_id: str, env_kwargs: Mapping[str, Any]) -> None:
    """Whether the environment can be made, and drawn where it is to be.

    :param env_id: its registered id
    :param env_kwargs: arguments of its constructor
    """
    try:
        env = gym.make(env_id, **env_kwargs)
        if env.render_mode is not None:
            env.reset()
            env.render()
        env.close()
    except Exception as error:  # simulators and renderers raise what they like
        drawn_by_mujoco = "mujoco" in str(gym.spec(env_id).entry_point) and "render_mode" in env_kwargs
        advice = " (without a display MuJoCo needs libEGL, or libOSMesa and MUJOCO_GL=osmesa)" if drawn_by_mujoco else ""
        raise ValueError(f"{env_id}: {error}{advice}") from None


def check_device(device: str) -> None:
    """Whether PyTorch can use a device: where it cannot, Stable-Baselines3 takes the CPU without a word."""
    if device == "auto":
        return
    try:
        asked = th.device(device)
    except RuntimeError:
        raise ValueError(f"--device {device} is unknown to PyTorch: give auto, cpu, cuda, or another of its devices") from None
    backend = getattr(th, asked.type, None)  # the CPU has such a module, too
    count = 0 if backend is None else backend.device_count()
    if (asked.index or 0) >= count:
        raise ValueError(f"--device {device}: PyTorch finds {count or 'no'} such device here: leave --device out, or give cpu")


def check_installed(package: str, option: str) -> None:
    """Whether there is a package that an option needs."""
    if not is_installed(package):
        raise ValueError(f"{option} needs the package {package}: pip install {package}")


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def has_display() -> bool:
    """Whether a window can be opened; elsewhere than on Linux it is taken for granted."""
    return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")))
