"""What restarts cost where they are not needed: on tasks that single path learns, a tenth of the episodes.

300,000 env steps with each task's settings. The share stays a tenth until the end; evaluation is from the true start alone.
"""

from functools import partial
from itertools import chain

from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import difference, interquartile_mean
from benchmarks.common.training import Plan, make_run, settings_for
from sb3_trpo.restarts import RestartEnv, Visited

STORE = Runs("restarts_harm")
TASKS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
STEPS, SHARE, CAPACITY = 300_000, 0.1, 1_000


def restarting(env: VecEnv) -> VecEnv:
    """The same environments, each with an archive of its own."""
    return DummyVecEnv([partial(RestartEnv, inner, Visited(CAPACITY), SHARE) for inner in env.envs])  # type: ignore[attr-defined]


VARIANTS = {"true start": None, "a tenth": restarting}  # what is put around the training environments


def run(cell: Cell) -> Run | None:
    settings = settings_for("sb3_trpo", cell.task)
    return make_run(Plan("sb3_trpo", cell.task, settings, STEPS, cell.seed, wrap=VARIANTS[cell.variant]), cell.changes)


def table() -> str:
    """Interquartile means over seeds, of the mean of all evaluations and of the last three, and their differences."""
    rows = []
    for env_id in TASKS:
        plain, tenth = ([_scores(frame) for frame in STORE.frames(env_id, name)] for name in VARIANTS)
        if plain and tenth:
            columns = zip(zip(*plain, strict=True), zip(*tenth, strict=True), strict=True)
            cells = ((f"{interquartile_mean(without):.0f}", difference(ours, without)) for without, ours in columns)
            rows.append([env_id, f"{len(plain)}, {len(tenth)}", *chain.from_iterable(cells)])
    less = "with a tenth of restarts, minus without"
    return markdown.table(["", "seeds", "mean over the run", less, "end of the run", less], rows)


def _scores(frame) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    return float(frame["mean"].mean()), float(frame["mean"].iloc[-3:].mean())


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=VARIANTS,
    seeds=(301, 302, 303, 304, 305),
    changeable=True,
    tables={"restarts_harm": table},
)
