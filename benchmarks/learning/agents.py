"""The README's moving pictures of trained agents: a few seconds of an episode of each agent in ``rl-trained-agents``.

    python -m benchmarks agents --task Hopper-v5

An agent is what ``python -m sb3_trpo train`` leaves in RL Zoo's layout, with its VecNormalize statistics. It acts by its mean
action. Without a display MuJoCo draws with EGL (Debian: libegl1).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.common import Cell, Study
from benchmarks.common.environment import results
from benchmarks.learning.mujoco import TASKS
from benchmarks.learning.trained_agents import AGENTS, load, names
from sb3_trpo import TRPO

SIZE = 160  # pixels of a side
BEGIN, SECONDS, FRAMES_PER_SECOND = 2.0, 4.0, 20
DRAWN = {"render_mode": "rgb_array", "camera_name": "track", "width": SIZE, "height": SIZE}
SEED = 1


def picture_of(env_id: str) -> Path:
    return results("agents", f"{env_id}.webp")


def frames(model: TRPO, env: VecEnv) -> tuple[list[np.ndarray], float]:
    """Pictures ``[SIZE, SIZE, 3]`` of some seconds, and the seconds of simulated time between two of them."""
    step = float(env.get_attr("dt")[0])
    every = max(1, round(1.0 / (FRAMES_PER_SECOND * step)))
    first, last = round(BEGIN / step), round((BEGIN + SECONDS) / step)
    obs: Any = env.reset()
    pictures = []
    for number in range(last):
        if number >= first and (number - first) % every == 0:
            pictures.append(env.render())
        obs, _, _, _ = env.step(model.predict(obs, deterministic=True)[0])
    return pictures, every * step  # type: ignore[return-value]


def run(cell: Cell) -> None:
    """Write the picture, if there is an agent."""
    if cell.task not in names():
        print(f"There is no agent of {cell.task} in {AGENTS}: train one, or copy it there.")
        return
    os.environ.setdefault("MUJOCO_GL", "egl")
    model, env = load(cell.task, SEED, **DRAWN)
    pictures, seconds = frames(model, env)
    env.close()
    first, *others = map(Image.fromarray, pictures)
    path = picture_of(cell.task)
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=others, duration=round(1000 * seconds), loop=0, quality=60, method=6)
    print(f"{path}: {len(pictures)} frames, {path.stat().st_size / 1000:.0f} kB")


def strip() -> str:
    """The pictures that are there, side by side."""
    return " ".join(f"![{task}](benchmarks/results/agents/{task}.webp)" for task in TASKS if picture_of(task).exists())


STUDY = Study(run=run, store=None, tasks=TASKS, tables={"agents": strip})
