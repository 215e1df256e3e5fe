"""The paper's Atari table (section 8.2): single path, vine and SB3's PPO on seven games, at equal simulator steps.

All three have the paper's network with a critic of the same kind, its 52×40 pictures and its factored actions; TRPO's
settings are those of the entry "atari" in sb3_trpo/hyperparams/trpo.yml, PPO's those of RL Zoo. The steps of the vine's
branches count. While a run goes on, a CSV gets the mean score of the last hundred training episodes: whole games, rewards
not clipped. It ends with twenty games on fresh environments, actions drawn from the policy, and a JSON file of these scores,
settings, versions and wall time. One more run, of Pong, goes on until the mean of the last hundred training games is 19.

A run that was killed goes on from its last checkpoint, with the emulators, the random generators and everything else as they
were, so that it ends as it would have ended.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

import sb3_trpo
from benchmarks.atari.games import NAMES, environments
from benchmarks.atari.progress import Progress, checkpoints, forget_checkpoints, unfinished
from benchmarks.common import Cell, Run, Runs, Study, markdown, notes_of
from benchmarks.common.environment import results
from benchmarks.common.figures import legend_of, save
from benchmarks.common.training import settings_for, with_schedules
from sb3_trpo.atari import PaperCnnPolicy
from sb3_trpo.checkpoints import ExactCheckpoint, has_checkpoints, resume

STORE = Runs("atari/runs")
EPISODES = 20
MINUTES = 5.0  # between two checkpoints
ZOO_KEYS = ("n_envs", "n_timesteps", "env_wrapper", "frame_stack", "policy")
PUBLISHED = pd.read_csv(Path(__file__).with_name("published.csv"))  # other people's tables, and how they measured
RANDOM, HUMAN = PUBLISHED[list(NAMES)].to_numpy()[:2]


@dataclass(frozen=True)
class Method:
    """What is compared.

    :param label: in tables and picture
    :param color: in the picture
    :param algorithm: that learns
    :param settings: that differ from the file's
    :param steps: simulator steps of a run, branches included
    :param until: mean score of the last hundred training games at which a run ends
    :param games: that it plays
    """

    label: str
    color: str
    algorithm: type[OnPolicyAlgorithm] = sb3_trpo.TRPO
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 500_000
    until: float = math.inf
    games: Sequence[str] = tuple(NAMES)


METHODS = {
    "ppo": Method("SB3's PPO", "tab:orange", PPO),
    "single_path": Method("sb3_trpo, single path", "tab:blue"),
    "vine": Method("sb3_trpo, vine", "tab:red", settings={"sampling": "vine"}),
    "single_path_long": Method(
        "sb3_trpo, single path, until a mean of 19", "tab:cyan", steps=10_000_000, until=19.0, games=("Pong",)
    ),
}


def settings_of(method: Method) -> dict[str, Any]:
    """Arguments of the algorithm's constructor and ``n_envs``."""
    entry = settings_for("ppo" if method.algorithm is PPO else "sb3_trpo", "atari")
    settings = {name: value for name, value in entry.items() if name not in ZOO_KEYS}
    return {"n_envs": entry["n_envs"], **settings, **method.settings}


def model_of(cell: Cell, settings: dict[str, Any]) -> OnPolicyAlgorithm:
    """A new model, or that of the last checkpoint."""
    algorithm = METHODS[cell.variant].algorithm
    arguments = {**with_schedules(settings), "seed": cell.seed, "device": "cpu"}
    env = environments(cell.task, arguments.pop("n_envs"), cell.seed)
    if has_checkpoints(checkpoints(cell)):
        return resume(algorithm, checkpoints(cell), env, **arguments)
    return algorithm(PaperCnnPolicy, env, **arguments)


def run(cell: Cell) -> Run:
    """Train, from the checkpoint if there is one, and evaluate."""
    method = METHODS[cell.variant]
    settings = {**settings_of(method), **cell.changes}
    steps = int(settings.pop("n_timesteps", method.steps))
    progress = Progress(partial(STORE.write_rows, cell), method.until)
    model = model_of(cell, settings)
    model.learn(steps, [progress, ExactCheckpoint(checkpoints(cell), every_minutes=MINUTES)])
    model.save(unfinished(cell))
    scores: Any
    scores, _ = evaluate_policy(
        model, environments(cell.task, 4, cell.seed + 10_000), EPISODES, deterministic=False, return_episode_rewards=True
    )
    forget_checkpoints(cell)
    notes = {
        "seed": cell.seed,
        "settings": settings,
        "steps": model.num_timesteps,
        "train_seconds": round(progress.seconds),
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores)),
        "scores": [float(score) for score in scores],
    }
    return Run(progress.rows, notes)


def finished() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Notes and curves of all runs, by method and game."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for label, game in product(METHODS, NAMES):
        for path in STORE.paths(game, label):
            run = {**notes_of(path), "curve": pd.read_csv(path)}
            found.setdefault(label, {}).setdefault(game, []).append(run)
    return found


Scores = Sequence[float | None]


def methods() -> list[tuple[str, str, Scores]]:
    """Published and measured: name, how it was measured, scores."""
    rows: list[tuple[str, str, Scores]] = [(name, protocol, scores) for name, protocol, *scores in PUBLISHED.to_numpy()]
    for label, games in finished().items():
        means = [float(np.mean([run["mean"] for run in games[game]])) if game in games else None for game in NAMES]
        every = [run for records in games.values() for run in records]
        steps, seeds = sorted({run["steps"] for run in every}), {run["seed"] for run in every}
        span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
        seconds = sum(run["train_seconds"] for run in every)
        protocol = f"{span} steps, {len(seeds)} seed(s), mean of 20 games; {seconds / 3600:.1f} h in all"
        rows.append((f"**{METHODS[label].label}**", protocol, means))
    return rows


def _row(name: str, protocol: str, scores: Scores, digits: int, unit: str = "") -> list[str]:
    return [name, *("not run" if score is None else f"{score:,.{digits}f}{unit}" for score in scores), protocol]


def score_table() -> str:
    rows = (_row(name, protocol, scores, 1) for name, protocol, scores in methods())
    return markdown.table(["", *NAMES.values(), ""], rows)


def share_table() -> str:
    """Each score as a share of the way from Table 1's random player to its human one."""
    rows = []
    for name, protocol, scores in methods():
        if name not in ("random", "human"):
            shares = [None if s is None else 100 * (s - r) / (h - r) for s, r, h in zip(scores, RANDOM, HUMAN, strict=True)]
            rows.append(_row(name, protocol.split(", ")[0].split(";")[0], shares, 0, " %"))
    return markdown.table(["", *NAMES.values(), ""], rows)


def plot() -> None:
    """Training scores of every run against simulator steps, one panel a game and one for the legend."""
    played = [game for game in NAMES if any(game in games for games in finished().values())]
    rows = math.ceil((len(played) + 1) / 4)
    columns = math.ceil((len(played) + 1) / rows)
    figure, axes = plt.subplots(rows, columns, figsize=(3.3 * columns, 3 * rows), squeeze=False)
    for axis, game in zip(axes.flat, played, strict=False):
        for label, games in finished().items():
            for run in games.get(game, []):
                curve, method = run["curve"], METHODS[label]
                axis.plot(curve["steps"] / 1e6, curve["mean"], color=method.color, label=method.label)
        axis.set(title=NAMES[game], xlabel="million steps")
        axis.grid(alpha=0.3)
    handles = legend_of(axes)
    for axis in axes.flat[len(played) :]:
        axis.axis("off")
    axes.flat[-1].legend(handles.values(), handles.keys(), loc="center", frameon=False)
    figure.suptitle("Mean score of the last hundred training games")
    figure.tight_layout()
    save(figure, results("atari", "atari.png"))


STUDY = Study(
    run=run,
    store=STORE,
    tasks=NAMES,
    variants=METHODS,
    included=lambda cell: cell.task in METHODS[cell.variant].games,
    changeable=True,
    tables={"atari": score_table, "atari_shares": share_table},
    plots=(plot,),
)
