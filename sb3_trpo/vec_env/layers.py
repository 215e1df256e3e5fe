"""The wrappers of vectorised environments, one after another."""

from collections.abc import Iterator

from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations


def layers(env: VecEnv | None) -> Iterator[VecEnvWrapper]:
    """Every wrapper, outermost first; not the environments themselves."""
    while isinstance(env, VecEnvWrapper):
        yield env
        env = env.venv


def frame_stacks(stacks: StackedObservations) -> list[StackedObservations]:
    """The frame stack itself, or one for each part of a Dict observation."""
    return list(getattr(stacks, "sub_stacked_observations", {None: stacks}).values())
