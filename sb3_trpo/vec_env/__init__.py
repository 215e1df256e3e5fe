"""Vectorised environments of SB3's: their wrappers, single rows saved and restored, statistics, and a fast path.

``layers`` walks through the wrappers, ``rows`` saves and restores single environments with their rows in wrappers, ``whole``
all of them, ``statistics`` finds running means, ``stages`` does the wrappers' work for other environments, and
``shallow_copies`` spares DummyVecEnv its deep ones.
"""

from sb3_trpo.vec_env.layers import layers
from sb3_trpo.vec_env.rows import RowState, clone_row_models, clone_rows, environment_at, restore_rows
from sb3_trpo.vec_env.shallow_copies import remove_shallow_copies, shallow_copies
from sb3_trpo.vec_env.stages import WrapperStages
from sb3_trpo.vec_env.statistics import running_statistics
from sb3_trpo.vec_env.whole import VecEnvState, clone_vec_env, restore_vec_env

__all__ = [
    "RowState",
    "VecEnvState",
    "WrapperStages",
    "clone_row_models",
    "clone_rows",
    "clone_vec_env",
    "environment_at",
    "layers",
    "remove_shallow_copies",
    "restore_rows",
    "restore_vec_env",
    "running_statistics",
    "shallow_copies",
]
