"""The wrappers of vectorised environments, one after another."""

from collections.abc import Iterator

from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

_OPTIONS = ("training", "norm_obs", "norm_reward", "norm_obs_keys", "clip_obs", "clip_reward", "gamma", "epsilon")


def layers(env: VecEnv | None) -> Iterator[VecEnvWrapper]:
    """Every wrapper, outermost first; not the environments themselves.

    :param env: the environments with their wrappers
    """
    while isinstance(env, VecEnvWrapper):
        yield env
        env = env.venv


def innermost(env: VecEnv) -> VecEnv | None:
    """The environments inside all wrappers; None for a wrapper without any, as ``VecNormalize`` is when it has been unpickled.

    :param env: the environments with their wrappers
    """
    inside: VecEnv | None = env
    for wrapper in layers(env):
        inside = wrapper.venv
    return inside


def describe_wrappers(env: VecEnv | None) -> str:
    """Text: every wrapper's class, outermost first, with the options of each ``VecNormalize``; "none" without wrappers.

    :param env: the environments with their wrappers
    """
    found = []
    for wrapper in layers(env):
        options = _OPTIONS if isinstance(wrapper, VecNormalize) else ()
        found.append(f"{type(wrapper).__name__}({', '.join(f'{name}={getattr(wrapper, name)!r}' for name in options)})")
    return " of ".join(found) or "none"


def frame_stacks(stacks: StackedObservations) -> list[StackedObservations]:
    """The frame stack itself, or one for each part of a Dict observation."""
    return list(getattr(stacks, "sub_stacked_observations", {None: stacks}).values())
