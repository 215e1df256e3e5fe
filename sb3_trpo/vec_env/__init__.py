"""Vectorised environments of SB3's: their wrappers, single rows saved and restored, statistics, and a fast path.

``layers`` walks through the wrappers, ``rows`` saves and restores single environments with their rows in wrappers, ``state``
all of them, ``statistics`` finds running means, which ``moments`` merges, ``stages`` does the wrappers' work for other
environments, and ``shallow_copies`` spares DummyVecEnv its deep ones. ``worker_vec_env`` has its environments in other
processes, ``worker_envs`` is what these do with them (``shares``: with the wrappers; ``registry``: environments made by
name), and ``fast_normalization`` does what VecNormalize does in less time.
"""

from sb3_trpo.vec_env.layers import describe_wrappers, innermost, layers
from sb3_trpo.vec_env.rows import RowState, call_cloneable, clone_row_models, clone_rows, environment_at, restore_rows
from sb3_trpo.vec_env.shallow_copies import remove_shallow_copies, shallow_copies
from sb3_trpo.vec_env.stages import WrapperStages
from sb3_trpo.vec_env.state import VecEnvState, clone_vec_env, restore_vec_env
from sb3_trpo.vec_env.statistics import running_statistics
from sb3_trpo.vec_env.worker_vec_env import WorkerVecEnv

__all__ = [
    "RowState",
    "VecEnvState",
    "WorkerVecEnv",
    "WrapperStages",
    "call_cloneable",
    "clone_row_models",
    "clone_rows",
    "clone_vec_env",
    "describe_wrappers",
    "environment_at",
    "innermost",
    "layers",
    "remove_shallow_copies",
    "restore_rows",
    "restore_vec_env",
    "running_statistics",
    "shallow_copies",
]
