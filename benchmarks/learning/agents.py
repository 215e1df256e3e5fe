"""Moving pictures of the trained agents in ``rl-trained-agents``, for the README: a few seconds of an episode each.

    python -m benchmarks agents --task Hopper-v5

An agent is what ``python -m sb3_trpo train`` leaves in RL Zoo's layout, with its VecNormalize statistics. It acts by its mean
action. Without a display MuJoCo draws with EGL (Debian: libegl1).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from benchmarks.common import Cell, Study
from benchmarks.common.environment import results
from benchmarks.learning.mujoco import TASKS
from sb3_trpo import TRPO

AGENTS = Path(__file__).parents[2] / "rl-trained-agents" / "trpo"
SIZE = 160  # pixels of a side
BEGIN, SECONDS, FRAMES_PER_SECOND = 2.0, 4.0, 20
DRAWN = {"render_mode": "rgb_array", "camera_name": "track", "width": SIZE, "height": SIZE}
SEED = 1


def agent_of(env_id: str) -> Path:
    """Its folder."""
    return AGENTS / f"{env_id}_1"


def picture_of(env_id: str) -> Path:
    return results("agents", f"{env_id}.webp")


def environment_of(env_id: str) -> VecEnv:
    """One environment that is drawn, with the statistics that the agent was trained with."""
    env = make_vec_env(env_id, 1, seed=SEED, env_kwargs=DRAWN)
    statistics = agent_of(env_id) / env_id / "vecnormalize.pkl"
    if not statistics.exists():
        return env
    normalized = VecNormalize.load(str(statistics), env)
    normalized.training = normalized.norm_reward = False
    return normalized


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
    if not agent_of(cell.task).is_dir():
        print(f"There is no agent in {agent_of(cell.task)}: train one, or copy it there.")
        return
    os.environ.setdefault("MUJOCO_GL", "egl")
    env = environment_of(cell.task)
    pictures, seconds = frames(TRPO.load(agent_of(cell.task) / f"{cell.task}.zip", device="cpu"), env)
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
