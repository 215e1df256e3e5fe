"""Whether saved simulator states are exact, environment by environment, and what they cost.

    pip install minigrid gymnasium-robotics "gymnasium[box2d]" && python -m benchmarks state_fidelity

Every environment is tried with ``check_clone``: 200 random steps with resets after the state went through pickle into a
second, used instance and back into the first, compared bit for bit; once with the state right after a reset, once 20 steps
on. Costs are medians: save and restore back to back, and as shares of the environment's own step, back to back and each
pair after a step, which finds the processor's caches full of the simulator. Last, 10,000 pairs of save and restore, with the
memory they add.
"""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.monitor import Monitor

from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.environment import memory
from benchmarks.common.statistics import median_and_range
from sb3_trpo.simulators import CannotCloneError, check_clone, clone_state, restore_state

gym.register_envs(ale_py)
STORE = Rows("simulators/state_fidelity")
CLASSIC = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0")
BOX2D = ("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "CarRacing-v3")
GRIDS = ("MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-8x8-v0", "MiniGrid-Dynamic-Obstacles-6x6-v0", "BabyAI-GoToObj-v0")
TOYS = ("FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4", "Blackjack-v1")
MAPS = [f"{size}{kind}" for size in ("Open", "Medium", "Large") for kind in ("", "_Diverse_G", "_Diverse_GR")]
MAZES = [
    f"{maze}_{plan}{reward}-v{version}"
    for maze, versions in (("PointMaze", (3,)), ("AntMaze", (3, 4, 5)))
    for version in versions
    for plan in ("UMaze", *MAPS)
    for reward in ("", "Dense")
]
NOT_FOR_IT = "not a game for this wrapper"  # some have no action that does nothing, or a FIRE where it is not looked for
PAIRS, PAIRED = 10_000, ("Hopper-v5", "ALE/Qbert-v5")
MEMORY = "memory of 10,000 pairs of save and restore"
WARM_UPS = {"after_reset": 0, "later": 20}  # steps before the state is saved

Make = Callable[[str], gym.Env]


def frames(env_id: str) -> gym.Env:
    """A game frame by frame, actions taken as they are given."""
    return gym.make(env_id, frameskip=1, repeat_action_probability=0.0)


def families() -> dict[str, tuple[Make, Sequence[str]]]:
    """How to make one, and the ids of all of them."""
    ids = list(gym.registry)
    mujoco = [i for i in ids if i.endswith("-v5") and "gymnasium.envs.mujoco" in str(gym.registry[i].entry_point)]
    games = [i for i in ids if i.startswith("ALE/")]
    return {
        "MuJoCo -v5": (gym.make, mujoco),
        "MuJoCo -v5 in SB3's Monitor": (lambda i: Monitor(gym.make(i)), mujoco),
        "classic control": (gym.make, CLASSIC),
        "toy text": (gym.make, TOYS),
        "MiniGrid": (lambda i: gym.make(f"minigrid:{i}"), GRIDS),
        "Box2D": (gym.make, BOX2D),
        "gymnasium-robotics' mazes": (lambda i: gym.make(f"gymnasium_robotics:{i}"), MAZES),
        "Atari, SB3's AtariWrapper": (lambda i: AtariWrapper(Monitor(frames(i))), games),
        "Atari, SB3's AtariWrapper, sticky actions": (
            lambda i: AtariWrapper(Monitor(frames(i)), action_repeat_probability=0.25),
            games,
        ),
        "Atari, gymnasium's AtariPreprocessing and frame stack": (
            lambda i: FrameStackObservation(AtariPreprocessing(frames(i)), 4),
            games,
        ),
        "Atari, ALE/…-v5 (ALE's sticky actions)": (gym.make, games),
    }


FAMILIES = families()


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


def check(make: Make, env_id: str, warm_up: int) -> dict[str, Any]:
    """Of one environment, with a state so many steps after a reset."""
    try:
        env = make(env_id)
    except (AssertionError, ValueError):
        return {"difference": NOT_FOR_IT}
    try:
        report = check_clone(env, warm_up=warm_up)
    except CannotCloneError as error:
        return {"difference": f"refused: {error.reason}"}
    found: dict[str, Any] = {"difference": report.difference or "", "bytes": report.size}
    found |= {"clone_us": round(report.clone_microseconds, 1), "restore_us": round(report.restore_microseconds, 1)}
    step, share = share_of_step(env)
    env.close()
    return {**found, "step_us": round(step, 1), "share_of_step": round(share, 4)}


def pairs(env_id: str) -> dict[str, Any]:
    """Memory before and after many pairs of save and restore, in MB."""
    env = gym.make(env_id)
    env.reset(seed=0)
    for _ in range(100):
        restore_state(env, clone_state(env))
    before = memory("VmRSS")
    for pair in range(PAIRS):
        state = clone_state(env)
        outputs = env.step(env.action_space.sample())
        if pair % 10 == 9 and (outputs[2] or outputs[3]):
            env.reset()
        elif pair % 10 != 9:
            restore_state(env, state)
    return {"pairs": PAIRS, "megabytes_before": round(before, 1), "megabytes_after": round(memory("VmRSS"), 1)}


def measure(cell: Cell) -> dict[str, Any]:
    if cell.variant == MEMORY:
        return pairs(cell.task)
    gym.logger.min_level = gym.logger.ERROR
    make = FAMILIES[cell.variant][0]
    return {name: check(make, cell.task, warm_up) for name, warm_up in WARM_UPS.items()}


def table() -> str:
    """One line a family."""
    rows = []
    for family in FAMILIES:
        found = [row for row in STORE.rows() if row["variant"] == family]
        if not found:
            continue
        played = [row for row in found if row["after_reset"]["difference"] != NOT_FOR_IT]
        differences = [[row[name]["difference"] for name in WARM_UPS] for row in played]
        if all(difference.startswith("refused") for pair in differences for difference in pair):
            rows.append([family, f"refused, {len(played)} of {len(played)}", *[""] * 5])
            continue
        later = [row["later"] for row in played if "bytes" in row["later"]]
        share, clone, restore, size, step = (
            np.array([one[key] for one in later]) for key in ("share_of_step", "clone_us", "restore_us", "bytes", "step_us")
        )
        cells = (
            f"{sum(not any(pair) for pair in differences)} of {len(played)}",
            median_and_range((clone + restore) / step, ".0%"),
            median_and_range(share, ".0%"),
            f"{np.median(clone):.0f}",
            f"{np.median(restore):.0f}",
            f"{np.median(size) / 1e3:.1f}",
        )
        rows.append([family, *cells])
    head = ("environments", "exact", "save + restore, of a step", "after a step", "µs to save", "µs to restore", "kB")
    return markdown.table(head, rows)


STUDY = Study(
    run=measure,
    store=STORE,
    tasks=tuple(dict.fromkeys(env_id for _, ids in FAMILIES.values() for env_id in ids)),
    variants=(*FAMILIES, MEMORY),
    included=lambda cell: cell.task in (PAIRED if cell.variant == MEMORY else FAMILIES[cell.variant][1]),
    tables={"state_fidelity": table},
)
