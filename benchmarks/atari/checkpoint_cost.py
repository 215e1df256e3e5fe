"""What one exact checkpoint costs: seconds in which training waits for it, and bytes on the disk.

The processor's seconds are the cost on a machine with a fast disk; the clock's have the disk in them, and whatever else ran.
Both are medians. Neither depends on the length of the rollout, because none is saved.
"""

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks.atari.games import paper, pong
from benchmarks.common import Cell, Rows, Study, markdown
from sb3_trpo import TRPO
from sb3_trpo.checkpoints import ExactCheckpoint

STORE = Rows("atari/checkpoint_cost")
ROUNDS, AFTER = 20, 50  # checkpoints, and steps before them
N_ENVS, N_STEPS = 8, 12_500  # of Pong: rollouts of 100,000 frames


def _hopper(**options: Any) -> VecEnv:
    return VecNormalize(make_vec_env("Hopper-v5", n_envs=2, seed=0), **options)


CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "Hopper-v5, 2 environments, VecNormalize, EvalCallback": ("MlpPolicy", _hopper, {}),
    "Pong, the paper's network, 8 environments": ("PaperCnnPolicy", partial(pong, N_ENVS, paper), {"n_steps": N_STEPS}),
    "Pong, NatureCNN, 8 environments": ("CnnPolicy", partial(pong, N_ENVS, AtariWrapper), {"n_steps": N_STEPS}),
}


class Measure(BaseCallback):
    """Saves again and again in the middle of a rollout, then ends it.

    :param checkpoint: that saves
    """

    def __init__(self, checkpoint: ExactCheckpoint):
        super().__init__()
        self.checkpoint = checkpoint
        self.seconds: list[tuple[float, float]] = []

    def _on_step(self) -> bool:
        if self.n_calls < AFTER:
            return True
        for _ in range(ROUNDS):
            begin = np.array([time.process_time(), time.perf_counter()])
            self.checkpoint._save()
            self.seconds.append(tuple(np.array([time.process_time(), time.perf_counter()]) - begin))
        return False


def measure(cell: Cell) -> dict[str, Any]:
    policy, make_env, settings = CASES[cell.task]
    model = TRPO(policy, make_env(), seed=0, device="cpu", **settings)
    evaluate = [EvalCallback(_hopper(training=False, norm_reward=False))] if make_env is _hopper else []
    with TemporaryDirectory(dir=".") as folder:
        checkpoint = ExactCheckpoint(folder, every_minutes=1.0)
        callback = Measure(checkpoint)
        model.learn(10 * N_ENVS * N_STEPS, [checkpoint, callback, *evaluate])
        size = sum(file.stat().st_size for file in next(Path(folder).iterdir()).iterdir())
    processor, clock = np.median(callback.seconds, axis=0)
    return {"processor_seconds": round(processor, 4), "clock_seconds": round(clock, 4), "bytes": size}


def table() -> str:
    head = ["one exact checkpoint", "CPU time", "wall time", "share of one minute", "on the disk"]
    rows = []
    for row in STORE.rows():
        seconds = [f"{1000 * row[key]:.0f} ms" for key in ("processor_seconds", "clock_seconds")]
        share = f"{100 * row['clock_seconds'] / 60:.2f} %"
        rows.append([row["task"], *seconds, share, f"{row['bytes'] / 2**20:.1f} MB"])
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=CASES, fresh_process=True, tables={"checkpoint_cost": table})
