"""Trust Region Policy Optimization for Stable-Baselines3."""

from importlib.resources import files

from sb3_trpo.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_trpo.trpo import TRPO
from sb3_trpo.vec_env import WorkerVecEnv

__version__ = files(__name__).joinpath("version.txt").read_text(encoding="utf-8").strip()

__all__ = ["TRPO", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "WorkerVecEnv", "__version__"]
