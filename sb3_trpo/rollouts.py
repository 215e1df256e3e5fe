"""The former place of :mod:`sb3_trpo.sampling` and :mod:`sb3_trpo.vec_env`, for scripts and saved models that name it."""

import sys

from sb3_trpo.sampling import FrameStackBuffer, VineSettings, frame_stacks
from sb3_trpo.vec_env import RowState, clone_rows, restore_rows

sys.modules[f"{__name__}.frame_stacks"] = frame_stacks  # by which models name their buffer's class

__all__ = ["FrameStackBuffer", "RowState", "VineSettings", "clone_rows", "restore_rows"]
