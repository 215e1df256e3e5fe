"""Peak memory of a whole process that learns Pong from batches of 100,000 frames, as the paper's are.

Each figure is the peak resident memory of a fresh process that collects one batch in 8 environments and makes one update:
PyTorch, emulators, frames and all. Fisher matrix on a tenth of the states, ten conjugate-gradient iterations, one pass of
the critic. sb3-contrib's cannot be run at that size: a line through its figures in the study ``update_memory`` is continued
to 100,000 frames, and its rollout of stacked frames added.
"""

from typing import Any

import numpy as np
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.buffers import RolloutBuffer

from benchmarks.atari.games import paper, pong
from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.environment import memory
from benchmarks.speed.update_memory import FRAMES
from benchmarks.speed.update_memory import STORE as UPDATES
from sb3_trpo import TRPO

STORE = Rows("atari/atari_memory")
N_ENVS, N_STEPS = 8, 12_500
COMMON: dict[str, Any] = {
    "n_steps": N_STEPS,
    "batch_size": 256,
    "n_critic_updates": 1,
    "cg_max_steps": 10,
    "fisher_sample_fraction": 0.1,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "NatureCNN, 84×84×4": ("CnnPolicy", {}),
    "NatureCNN, 84×84×4, stacks kept whole (SB3's buffer)": ("CnnPolicy", {"rollout_buffer_class": RolloutBuffer}),
    "NatureCNN, 84×84×4, vine with 100,000 branch steps": ("CnnPolicy", {"sampling": "vine"}),
    "the paper's network, 52×40×4": ("PaperCnnPolicy", {}),
}


def measure(cell: Cell) -> dict[str, int]:
    """MB at the peak of a rollout and an update."""
    policy, settings = CASES[cell.task]
    wrapper: Any = paper if policy == "PaperCnnPolicy" else AtariWrapper
    TRPO(policy, pong(N_ENVS, wrapper), seed=0, device="cpu", **COMMON, **settings).learn(N_ENVS * N_STEPS)
    return {"megabytes": round(memory("VmHWM"))}


def sb3_contrib() -> float:
    """MB that sb3-contrib's update and rollout of 100,000 frames would take, from those that were measured."""
    rows = [row for row in UPDATES.rows() if row["variant"] == "sb3_contrib"]
    frames, megabytes = zip(*((FRAMES[row["task"]], row["megabytes"]) for row in rows), strict=True)
    slope, constant = np.polyfit(frames, megabytes, 1)
    n_frames = N_ENVS * N_STEPS
    return constant + n_frames * (slope + 4 * 84 * 84 / 2**20)


def table() -> str:
    rows = [[row["task"], f"{row['megabytes'] / 1024:.1f} GB"] for row in STORE.rows()]
    contrib = ["sb3-contrib, NatureCNN, 84×84×4, extrapolated from up to 2,048 frames", f"{sb3_contrib() / 1024:.0f} GB"]
    return markdown.table(["Pong, one rollout and update of 100,000 frames", "peak of the process"], [*rows, contrib])


STUDY = Study(run=measure, store=STORE, tasks=CASES, fresh_process=True, tables={"atari_memory": table})
