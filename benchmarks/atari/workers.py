"""Frames a second of a whole ``learn()`` on Pong with its environments in worker processes, over all in this process.

A frame is what the policy sees: four of the emulator's. SB3's AtariWrapper and NatureCNN, eight environments of 128 steps, a
tenth of the states in the Fisher matrix. In turn; medians of ratios with the range of single rounds. Each worker is held on
a core of its own.
"""

from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.atari.games import pong
from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import in_turn, spread
from benchmarks.common.worker_speed import hold_workers, learning_speed
from sb3_trpo import TRPO, WorkerVecEnv

STORE = Rows("atari/workers")
ROUNDS, STEPS, N_ENVS, N_STEPS = 3, 4096, 8, 128  # frames of each run
TASK, VARIANTS = "Pong, NatureCNN", {"one process": 0, "one worker": 1, "two workers": 2}


def model_for(n_workers: int) -> TRPO:
    kind: Any = partial(WorkerVecEnv, n_workers=n_workers) if n_workers else DummyVecEnv
    env = pong(N_ENVS, AtariWrapper, kind)
    model = TRPO("CnnPolicy", env, n_steps=N_STEPS, fisher_sample_fraction=0.1, seed=0, device="cpu").learn(1)
    hold_workers(model)
    return model


def measure(cell: Cell) -> dict[str, Any]:
    models = {name: model_for(n_workers) for name, n_workers in VARIANTS.items()}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    speeds = in_turn(ROUNDS, {name: partial(learning_speed, model, STEPS, spent[name]) for name, model in models.items()})
    for model in models.values():
        model.get_env().close()  # type: ignore[union-attr]
    return {
        "over one process": {name: spread(speeds[name] / speeds["one process"]) for name in list(VARIANTS)[1:]},
        "microseconds": {name: (1e6 * np.median(values, axis=0)).round(1).tolist() for name, values in spent.items()},
    }


def table() -> str:
    rows = []
    for row in STORE.rows():
        (one, _), (serial, parallel) = (row["microseconds"][name] for name in ("one process", "two workers"))
        ratios = (markdown.ratio(row["over one process"][name], 2) for name in ("one worker", "two workers"))
        rows.append([row["task"], *ratios, f"{one:.0f}", f"{serial:.0f}", f"{parallel:.0f}"])
    head = ["frames/s over one process", "one worker", "two workers", "µs a frame, one process", "serial", "in two workers"]
    return markdown.table(head, rows)


STUDY = Study(run=measure, store=STORE, tasks=(TASK,), tables={"atari_workers": table})
