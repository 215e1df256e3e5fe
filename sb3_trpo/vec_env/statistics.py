"""Running statistics that VecEnv wrappers keep of observations and rewards."""

from collections.abc import Iterator

from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from sb3_trpo.vec_env.layers import layers


def running_statistics(env: VecEnv | None) -> Iterator[tuple[VecEnvWrapper, str, RunningMeanStd]]:
    """Every wrapper with statistics, their name there (``obs_rms``, ``obs_rms['pixels']``, …) and the statistics.

    :param env: environments with their wrappers; outermost first
    """
    for wrapper in layers(env):
        for name, value in vars(wrapper).items():
            for key, statistics in (value if isinstance(value, dict) else {None: value}).items():
                if isinstance(statistics, RunningMeanStd):
                    yield wrapper, name if key is None else f"{name}[{key!r}]", statistics
