"""The paper's Atari table with our runs in it: scores, the same normalised, and the curves. Used by ``benchmarks.report``."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks.atari import GAMES, RUNS
from benchmarks.environment import RESULTS
from benchmarks.legend import legend_of

LABELS = {
    "single_path": "sb3_trpo, single path",
    "single_path_long": "sb3_trpo, single path, until a mean of 19",
    "vine": "sb3_trpo, vine",
    "ppo": "SB3's PPO",
}
COLORS = {"single_path": "tab:blue", "single_path_long": "tab:cyan", "vine": "tab:red", "ppo": "tab:orange"}
NAMES = dict(zip(GAMES, ("Beam Rider", "Breakout", "Enduro", "Pong", "Q*bert", "Seaquest", "Space Invaders"), strict=True))


@dataclass(frozen=True)
class Published:
    """A row of somebody else's table.

    :param name: of the method
    :param protocol: how it was measured, as far as is said
    :param scores: by game, in the order of ``GAMES``
    """

    name: str
    protocol: str
    scores: tuple[float, ...]


TABLE_1 = "Schulman et al. 2015, Table 1"
NATURE = "Mnih et al. 2015, Extended Data Table 2; games begin with up to 30 no-ops and last at most 5 minutes"
PUBLISHED = (
    Published("random", f"{TABLE_1}, from Mnih et al. 2013", (354, 1.2, 0, -20.4, 157, 110, 179)),
    Published(
        "human", f"{TABLE_1}, from Mnih et al. 2013: median of about two hours' play", (7456, 31, 368, -3, 18900, 28010, 3690)
    ),
    Published("DQN", f"{TABLE_1}, from Mnih et al. 2013: mean with ε = 0.05", (4092, 168, 470, 20, 1952, 1705, 581)),
    Published(
        "UCC-I",
        f"{TABLE_1}, from Guo et al. 2014: tree search and supervised learning",
        (5702, 380, 741, 21, 20025, 2995, 692),
    ),
    Published(
        "TRPO, single path", f"{TABLE_1}; one run, 500 × 100,000 steps", (1425.2, 10.8, 534.6, 20.9, 1973.5, 1908.6, 568.4)
    ),
    Published("TRPO, vine", f"{TABLE_1}; one run, 500 × 400,000 steps", (859.5, 34.2, 430.8, 20.9, 7732.5, 788.4, 450.2)),
    Published("random", NATURE, (363.9, 1.7, 0, -20.7, 163.9, 68.4, 148)),
    Published(
        "human", f"{NATURE}; a games tester, mean of about 20 episodes", (5774.7, 31.8, 309.6, 9.3, 13455, 20181.8, 1652.3)
    ),
    Published(
        "DQN",
        f"{NATURE}; 50 million frames' training, mean of 30 episodes with ε = 0.05",
        (6846, 401.2, 301.8, 18.9, 10596, 5286, 1976),
    ),
)
RANDOM, HUMAN = (np.array(row.scores) for row in PUBLISHED[:2])


def runs() -> dict[str, dict[str, list[dict]]]:
    """Results of every committed run, by label and game."""
    found: dict[str, dict[str, list[dict]]] = {}
    for path in sorted(RUNS.glob("*/*_seed*.json")):
        record = {**json.loads(path.read_text()), "curve": pd.read_csv(path.with_suffix(".csv"))}
        found.setdefault(path.stem.rsplit("_seed", 1)[0], {}).setdefault(path.parent.name, []).append(record)
    return found


def _row(name: str, protocol: str, scores: Sequence[float | None], digits: int, unit: str = "") -> str:
    cells = ("not run" if score is None else f"{score:,.{digits}f}{unit}" for score in scores)
    return f"| {name} | " + " | ".join(cells) + f" | {protocol} |"


def tables() -> dict[str, str]:
    """Scores, and each as a share of the way from Table 1's random player to its human one."""
    rows: list[tuple[str, str, Sequence[float | None]]] = [(row.name, row.protocol, row.scores) for row in PUBLISHED]
    for label, games in runs().items():
        means = [float(np.mean([run["mean"] for run in games[game]])) if game in games else None for game in GAMES]
        every = [run for records in games.values() for run in records]
        steps, seeds = sorted({run["steps"] for run in every}), {run["seed"] for run in every}
        span = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
        seconds = sum(run["train_seconds"] for run in every)
        protocol = f"{span} steps, {len(seeds)} seed(s), mean of 20 games; {seconds / 3600:.1f} h in all"
        rows.append((f"**{LABELS.get(label, label)}**", protocol, means))
    head = "| | " + " | ".join(NAMES.values()) + " | |\n" + "|---" * (len(GAMES) + 2) + "|"
    plain = [head, *(_row(name, protocol, scores, 1) for name, protocol, scores in rows)]
    shared = [head]
    for name, protocol, scores in rows:
        if name not in ("random", "human"):
            shares = [None if s is None else 100 * (s - r) / (h - r) for s, r, h in zip(scores, RANDOM, HUMAN, strict=True)]
            shared.append(_row(name, protocol.split(", ")[0].split(";")[0], shares, 0, " %"))
    return {"atari": "\n".join(plain), "atari_shares": "\n".join(shared)}


def plot() -> None:
    """Training scores of every run against simulator steps, one panel a game and one for the legend."""
    played = [game for game in GAMES if any(game in games for games in runs().values())]
    rows = math.ceil((len(played) + 1) / 4)
    columns = math.ceil((len(played) + 1) / rows)
    figure, axes = plt.subplots(rows, columns, figsize=(3.3 * columns, 3 * rows), squeeze=False)
    for axis, game in zip(axes.flat, played, strict=False):
        for label, games in runs().items():
            for run in games.get(game, []):
                axis.plot(
                    run["curve"]["steps"] / 1e6, run["curve"]["mean"], color=COLORS.get(label), label=LABELS.get(label, label)
                )
        axis.set(title=NAMES[game], xlabel="million steps")
        axis.grid(alpha=0.3)
    handles = legend_of(axes)
    for axis in axes.flat[len(played) :]:
        axis.axis("off")
    axes.flat[-1].legend(handles.values(), handles.keys(), loc="center", frameon=False)
    figure.suptitle("Mean score of the last hundred training games")
    figure.tight_layout()
    figure.savefig(RESULTS / "atari" / "atari.png", dpi=110, metadata={"Software": ""})
    plt.close(figure)
