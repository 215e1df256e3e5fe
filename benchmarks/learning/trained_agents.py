"""Returns of the agents in ``rl-trained-agents``: 100 episodes each, and the checksums of the files that were loaded.

An agent is what RL Zoo's script leaves, made with the settings of this package:

    python -m sb3_trpo train --env Hopper-v5 --seed 0 -f rl-trained-agents
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from rl_zoo3.exp_manager import ExperimentManager
from rl_zoo3.utils import create_test_env, get_saved_hyperparams
from scipy.stats import bootstrap
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from benchmarks.common import Cell, Rows, Study, markdown
from sb3_trpo import TRPO

STORE = Rows("agents/trained_agents")
AGENTS = Path(__file__).parents[2] / "rl-trained-agents" / "trpo"
EPISODES = 100


def names() -> list[str]:
    """The tasks that there are agents of."""
    return sorted(folder.name.removesuffix("_1") for folder in AGENTS.glob("*_1"))


def files(env_id: str) -> Iterator[Path]:
    """The networks, and the running statistics where there are any."""
    folder = AGENTS / f"{env_id}_1"
    yield folder / f"{env_id}.zip"
    yield from (folder / env_id).glob("*.pkl")


def checksums(env_id: str) -> dict[str, str]:
    """SHA-256 of each file of an agent."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files(env_id)}


def load(env_id: str, seed: int, **env_kwargs: Any) -> tuple[TRPO, VecEnv]:
    """An agent, and the task as RL Zoo's ``enjoy`` makes it: with the running statistics, and rewards as they are.

    :param env_id: of the task
    :param seed: of the environment
    :param env_kwargs: further arguments of the environment
    """
    folder = AGENTS / f"{env_id}_1"
    hyperparams, statistics = get_saved_hyperparams(str(folder / env_id), norm_reward=False, test_mode=True)
    arguments = {"stats_path": statistics, "hyperparams": hyperparams, "env_kwargs": env_kwargs, "should_render": False}
    env = create_test_env(env_id, seed=seed, **arguments)  # type: ignore[arg-type]
    return TRPO.load(folder / f"{env_id}.zip", device="cpu"), env


def deterministic(env_id: str) -> bool:
    """Whether an agent takes the likeliest action: all but Atari's, which draw theirs, as RL Zoo's ``enjoy`` has it."""
    return not ExperimentManager.is_atari(env_id)


def measure(cell: Cell) -> dict[str, Any]:
    """Undiscounted returns of whole episodes."""
    set_random_seed(cell.seed)
    model, env = load(cell.task, cell.seed)
    returns: Any = evaluate_policy(model, env, EPISODES, deterministic(cell.task), return_episode_rewards=True)[0]
    env.close()
    return {"returns": [round(value, 2) for value in returns], "sha256": checksums(cell.task)}


def table() -> str:
    """Mean with its 95 % bootstrap interval, and the lowest and the highest of the episodes."""
    rows = []
    for row in STORE.rows():
        returns = np.array(row["returns"])
        low, high = bootstrap((returns,), np.mean, rng=np.random.default_rng(0)).confidence_interval
        command = (AGENTS / f"{row['task']}_1" / row["task"] / "command.txt").read_text().split()
        seed = command[command.index("--seed") + 1]
        mean = f"{returns.mean():.0f} ({low:.0f} to {high:.0f})"
        rows.append([row["task"], seed, mean, f"{returns.min():.0f} to {returns.max():.0f}"])
    return markdown.table(["task", "seed", "mean return of 100 episodes", "single episodes"], rows)


STUDY = Study(run=measure, store=STORE, tasks=names(), seeds=(1000,), tables={"trained_agents": table})
