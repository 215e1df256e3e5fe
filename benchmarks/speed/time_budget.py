"""Where the time of one ``learn()`` goes, in µs an env step and in per cent.

Stop-watches around the parts' functions, one PyTorch thread; what a part calls of another part is not counted twice.
"""

import sys
import time
from typing import Any

from stable_baselines3.common.callbacks import CallbackList, ConvertCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import sb3_trpo.trpo
from benchmarks.common import Cell, Rows, Study, markdown
from benchmarks.common.timing import Stopwatch
from sb3_trpo import TRPO
from sb3_trpo.sampling.evaluators import DeferredEvaluator

copies = sys.modules["sb3_trpo.vec_env.shallow_copies"]  # the package shows the function of that name

STORE = Rows("speed/time_budget")
STEPS = 16_384
# part -> (what is timed, what bounds it)
PARTS: dict[str, tuple[list[tuple[Any, str]], str]] = {
    "environment": ([(Monitor, "step"), (Monitor, "reset")], "the simulator, gymnasium's wrappers, SB3's Monitor"),
    "VecEnv": ([(DummyVecEnv, "step_wait"), (copies, "_step_wait")], "copies of observations and infos"),
    "policy": ([(DeferredEvaluator, "act")], "a handful of NumPy calls"),
    "buffer": (
        [(DeferredEvaluator, "record"), (DeferredEvaluator, "finish"), (TRPO, "_estimate_advantages")],
        "array writes; values and log-probabilities in batches",
    ),
    "callbacks": ([(ConvertCallback, "on_step"), (CallbackList, "on_step")], "SB3's callback protocol"),
    "critic": ([(sb3_trpo.trpo, "fit_critic")], "ten passes of matrix products on minibatches of 128"),
    "policy step": ([(TRPO, "train")], "fifteen Fisher-vector products on the whole rollout"),
}
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "Hopper-v5": ("Hopper-v5", 1, {}),
    "Hopper-v5 × 8": ("Hopper-v5", 8, {"n_steps": 256}),
    "CartPole-v1": ("CartPole-v1", 1, {}),
}


REST = {"the rest": "the loop itself, logging"}


def measure(cell: Cell) -> dict[str, Any]:
    """µs an env step of every part, and of the rest."""
    env_id, n_envs, settings = CASES[cell.task]
    model = TRPO("MlpPolicy", make_vec_env(env_id, n_envs, seed=0), seed=0, device="cpu", **settings).learn(2048)
    watch = Stopwatch({part: functions for part, (functions, _) in PARTS.items()})
    with watch.installed():
        begin = time.perf_counter()
        model.learn(STEPS, reset_num_timesteps=False)
        total = time.perf_counter() - begin
    seconds = {**watch.seconds, "the rest": total - sum(watch.seconds.values())}
    return {"microseconds": {part: 1e6 * value / STEPS for part, value in seconds.items()}}


def table() -> str:
    budgets = {row["task"]: row["microseconds"] for row in STORE.rows()}
    bounds = {part: bound for part, (_, bound) in PARTS.items()} | REST
    rows = []
    for part, bound in bounds.items():
        shares = (f"{one[part]:.0f} ({one[part] / sum(one.values()):.0%})" for one in budgets.values())
        rows.append([part, *shares, bound])
    return markdown.table(["µs an env step (share)", *budgets, "bounded by"], rows)


STUDY = Study(run=measure, store=STORE, tasks=CASES, tables={"time_budget": table})
