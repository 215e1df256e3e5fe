"""Whether saved simulator states are exact, environment by environment, and what they cost.

    pip install minigrid "gymnasium[box2d]"
    python -m benchmarks.state_fidelity

Every environment is tried with ``check_clone``: 200 random steps with resets after the state went through pickle into a
second, used instance and back into the first, compared bit for bit; once with the state right after a reset, once 20 steps
on. Costs are medians: save and restore back to back, and as shares of the environment's own step, back to back and each
pair after a step, which finds the processor's caches full of the simulator. Rows are written as they are
found and not made again; ``--fresh`` starts over. Last, 10,000 pairs of save and restore, with the memory they add.
"""

import argparse
import csv
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.monitor import Monitor

from benchmarks.environment import RESULTS, describe
from benchmarks.statistics import median_and_range
from sb3_trpo.simulators import CannotCloneError, check_clone, clone_state, restore_state

FOLDER = RESULTS / "simulators"
FIELDS = ("family", "env", "warm_up", "difference", "clone_us", "restore_us", "step_us", "share_of_step", "bytes")
CLASSIC = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0")
BOX2D = ("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "CarRacing-v3")
GRIDS = ("MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-8x8-v0", "MiniGrid-Dynamic-Obstacles-6x6-v0", "BabyAI-GoToObj-v0")
TOYS = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4", "Blackjack-v1")
NOT_FOR_IT = "not a game for this wrapper"  # some have no action that does nothing, or a FIRE where it is not looked for
PAIRS, PAIRED = 10_000, ("Hopper-v5", "ALE/Qbert-v5")

Make = Callable[[str], gym.Env]


def frames(env_id: str) -> gym.Env:
    """A game frame by frame, actions taken as they are given."""
    return gym.make(env_id, frameskip=1, repeat_action_probability=0.0)


def families() -> Iterator[tuple[str, Make, list[str]]]:
    """Name, how to make one, and the ids of all of them."""
    ids = list(gym.registry)
    mujoco = [i for i in ids if i.endswith("-v5") and "gymnasium.envs.mujoco" in str(gym.registry[i].entry_point)]
    games = [i for i in ids if i.startswith("ALE/")]
    yield "MuJoCo -v5", gym.make, mujoco
    yield "MuJoCo -v5 in SB3's Monitor", lambda i: Monitor(gym.make(i)), mujoco
    yield "classic control", gym.make, list(CLASSIC)
    yield "toy text", gym.make, list(TOYS)
    yield "MiniGrid", lambda i: gym.make(f"minigrid:{i}"), list(GRIDS)
    yield "Box2D", gym.make, list(BOX2D)
    yield "Atari, SB3's AtariWrapper", lambda i: AtariWrapper(Monitor(frames(i))), games
    sticky: Make = lambda i: AtariWrapper(Monitor(frames(i)), action_repeat_probability=0.25)  # noqa: E731
    yield "Atari, SB3's AtariWrapper, sticky actions", sticky, games
    stacked: Make = lambda i: FrameStackObservation(AtariPreprocessing(frames(i)), 4)  # noqa: E731
    yield "Atari, gymnasium's AtariPreprocessing and frame stack", stacked, games
    yield "Atari, ALE/…-v5 (ALE's sticky actions)", gym.make, games


def share_of_step(env: gym.Env, rounds: int = 200) -> tuple[float, float]:
    """Microseconds of a step, and save and restore over step; medians, in turn."""
    actions = deepcopy(env.action_space)  # for once it has drawn, a space has a random state of its own to save
    steps, copies = [], []
    for action in [actions.sample() for _ in range(rounds)]:
        begin = time.perf_counter()
        outputs = env.step(action)
        if outputs[2] or outputs[3]:
            env.reset()
        middle = time.perf_counter()
        restore_state(env, clone_state(env))
        copies.append(time.perf_counter() - middle)
        steps.append(middle - begin)
    return 1e6 * float(np.median(steps)), float(np.median(copies) / np.median(steps))


def check(family: str, make: Make, env_id: str, warm_up: int) -> dict[str, Any]:
    """One row."""
    row: dict[str, Any] = {"family": family, "env": env_id, "warm_up": warm_up}
    try:
        env = make(env_id)
    except (AssertionError, ValueError):
        return {**row, "difference": NOT_FOR_IT}
    try:
        report = check_clone(env, warm_up=warm_up)
    except CannotCloneError as error:
        return {**row, "difference": f"refused: {error.reason}"}
    row |= {"difference": report.difference or "", "bytes": report.size}
    row |= {"clone_us": round(report.clone_microseconds, 1), "restore_us": round(report.restore_microseconds, 1)}
    step, share = share_of_step(env)
    env.close()
    return {**row, "step_us": round(step, 1), "share_of_step": round(share, 4)}


def resident() -> float:
    """Resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def pairs(env_id: str) -> dict[str, Any]:
    """Memory before and after many pairs of save and restore, in MB."""
    env = gym.make(env_id)
    env.reset(seed=0)
    for _ in range(100):
        restore_state(env, clone_state(env))
    before = resident()
    for pair in range(PAIRS):
        state = clone_state(env)
        outputs = env.step(env.action_space.sample())
        if pair % 10 == 9 and (outputs[2] or outputs[3]):
            env.reset()
        elif pair % 10 != 9:
            restore_state(env, state)
    return {"env": env_id, "pairs": PAIRS, "megabytes_before": round(before, 1), "megabytes_after": round(resident(), 1)}


def table(rows: list[dict[str, Any]]) -> str:
    """One line a family."""
    lines = [
        "| environments | exact | save + restore, of a step | after a step | µs to save | µs to restore | kB |",
        "|---" * 7 + "|",
    ]
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family and row["difference"] != NOT_FOR_IT]
        names = {row["env"] for row in mine}
        exact = names - {row["env"] for row in mine if row["difference"]}
        if all(row["difference"].startswith("refused") for row in mine):
            lines.append(f"| {family} | refused, {len(names)} of {len(names)} | | | | | |")
            continue
        later = [row for row in mine if int(row["warm_up"]) and row.get("bytes")]
        share, clone, restore, size = (
            [float(row[key]) for row in later] for key in ("share_of_step", "clone_us", "restore_us", "bytes")
        )
        at_once = [(float(row["clone_us"]) + float(row["restore_us"])) / float(row["step_us"]) for row in later]
        cells = (
            f"{len(exact)} of {len(names)}",
            median_and_range(at_once, ".0%"),
            median_and_range(share, ".0%"),
            f"{np.median(clone):.0f}",
            f"{np.median(restore):.0f}",
            f"{np.median(size) / 1e3:.1f}",
        )
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="make all rows again")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    gym.logger.min_level = gym.logger.ERROR
    gym.register_envs(ale_py)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "state_fidelity.csv"
    if args.fresh:
        path.unlink(missing_ok=True)
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    done = {(row["family"], row["env"], int(row["warm_up"])) for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        for family, make, ids in families():
            for env_id, warm_up in ((i, w) for i in ids for w in (0, 20) if (family, i, w) not in done):
                row = check(family, make, env_id, warm_up)
                rows.append(row)
                writer.writerow(row)
                file.flush()
                if row["difference"]:
                    print(row, flush=True)
    memory = [pairs(env_id) for env_id in PAIRED]
    print(memory)
    result = {**describe(), "memory": memory, "table": table(rows)}
    (FOLDER / "state_fidelity.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
