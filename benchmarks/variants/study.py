"""What is learned with a memory, with masks and with both, beside sb3-contrib's PPO and, where there is a memory, without one.

Five tasks need a memory, three have masks, one needs both. Settings: those of sb3_trpo/hyperparams and of RL Zoo's files for
the tasks that are in them, else one set for each algorithm (in ``METHODS``), which was not tuned.
"""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import gymnasium as gym
import numpy as np
import rl_zoo3.import_envs
import yaml
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

import sb3_trpo
from benchmarks.common import Cell, Run, Runs, Study, markdown
from benchmarks.common.statistics import mean_and_interval
from benchmarks.common.training import evaluation_envs, make_model
from benchmarks.variants.environments import Assignment, ConnectFour, MaskedRecall, RepeatPrevious, Tour
from benchmarks.vine_study.tasks import PositionsOnly
from sb3_trpo import TRPO, MaskableRecurrentTRPO, MaskableTRPO, RecurrentTRPO
from sb3_trpo.variants.evaluation import Player

STORE = Runs("variants")
EPISODES = 20  # of an evaluation


@dataclass(frozen=True)
class Task:
    """An environment, and what is compared there.

    :param make: its registered id, or its class
    :param steps: env steps of a run
    :param methods: names of ``METHODS``
    """

    make: str | Callable[[], gym.Env]
    steps: int
    methods: tuple[str, ...]


MEMORY, MASKS = ("trpo_lstm", "ppo_lstm", "trpo"), ("trpo_mask", "ppo_mask")
TASKS = {
    "CartPoleNoVel-v1": Task("CartPoleNoVel-v1", 100_000, MEMORY),
    "PendulumNoVel-v1": Task("PendulumNoVel-v1", 100_000, MEMORY),
    "LunarLanderNoVel-v3": Task("LunarLanderNoVel-v3", 300_000, MEMORY),
    "Hopper, positions alone": Task(lambda: PositionsOnly(gym.make("Hopper-v5")), 300_000, MEMORY),
    "RepeatPreviousEasy": Task(RepeatPrevious, 300_000, MEMORY),
    "Tour": Task(Tour, 200_000, MASKS),
    "Assignment": Task(Assignment, 200_000, MASKS),
    "ConnectFour": Task(ConnectFour, 200_000, MASKS),
    "MaskedRecall": Task(MaskedRecall, 300_000, ("trpo_mask_lstm", "trpo_mask", "trpo_lstm")),
}


@dataclass(frozen=True)
class Method:
    """An algorithm, and its settings where no file has the task.

    :param algorithm: the class
    :param policy: name of its policy
    :param file: settings in RL Zoo's format, a package and a name
    :param settings: for other tasks
    """

    algorithm: Any
    policy: str
    file: tuple[Any, str]
    settings: dict[str, Any] = field(default_factory=dict)


LSTM: dict[str, Any] = {"policy_kwargs": {"lstm_hidden_size": 64, "net_arch": [64]}}
TRPOS: dict[str, Any] = {"n_envs": 8, "n_steps": 256, "batch_size": 512, "target_kl": 0.02}
METHODS = {
    "trpo": Method(TRPO, "MlpPolicy", (sb3_trpo, "trpo"), TRPOS),
    "trpo_lstm": Method(RecurrentTRPO, "MlpLstmPolicy", (sb3_trpo, "trpo_lstm"), {**TRPOS, **LSTM}),
    "trpo_mask": Method(MaskableTRPO, "MlpPolicy", (sb3_trpo, "trpo_mask"), TRPOS),
    "trpo_mask_lstm": Method(MaskableRecurrentTRPO, "MlpLstmPolicy", (sb3_trpo, "trpo_mask_lstm"), {**TRPOS, **LSTM}),
    "ppo_lstm": Method(RecurrentPPO, "MlpLstmPolicy", (rl_zoo3, "ppo_lstm"), {"n_envs": 8, "n_steps": 256, **LSTM}),
    "ppo_mask": Method(MaskablePPO, "MlpPolicy", (rl_zoo3, "ppo"), {"n_envs": 8, "n_steps": 256}),
}


def settings_of(method: Method, task: str) -> dict[str, Any]:
    """Those of the file if it has the task, its last version, or POPGym's name for it, else the method's own."""
    package, name = method.file
    entries = yaml.safe_load((files(package) / "hyperparams" / f"{name}.yml").read_text())
    names = (task, task.replace("-v3", "-v2"), f"popgym-{task}-v0")
    return {**next((entries[each] for each in names if each in entries), method.settings), "policy": method.policy}


class Curve(BaseCallback):
    """Evaluates at the ends of rollouts, some twenty times in a run; its own time is not counted."""

    def __init__(self, env: Any, steps: int):
        super().__init__()
        self.env, self.every = env, steps // 20
        self.rows: list[dict[str, float]] = []
        self.spent = self.started = 0.0

    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        self.started = time.process_time()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps // self.every > (self.rows[-1]["steps"] // self.every if self.rows else 0):
            self._evaluate()

    def _on_training_end(self) -> None:
        self._evaluate()

    def _evaluate(self) -> None:
        begin = time.process_time()
        normalization = self.model.get_vec_normalize_env()
        if normalization is not None:
            self.env.obs_rms = deepcopy(normalization.obs_rms)
        model: Any = Player(self.model, self.env) if isinstance(self.model, (MaskableTRPO, MaskablePPO)) else self.model
        returns, _ = evaluate_policy(model, self.env, EPISODES, return_episode_rewards=True)
        row = {"steps": self.num_timesteps, "mean": round(float(np.mean(returns)), 3), "std": round(float(np.std(returns)), 3)}
        self.rows.append({**row, "processor_seconds": round(begin - self.started - self.spent, 2)})
        self.spent += time.process_time() - begin


def run(cell: Cell) -> Run:
    task, method = TASKS[cell.task], METHODS[cell.variant]
    settings = {**settings_of(method, cell.task), **cell.changes}
    model = make_model(method.algorithm, task.make, settings, cell.seed)
    curve = Curve(evaluation_envs(task.make, settings, cell.seed), task.steps)
    model.learn(task.steps, callback=curve)
    return Run(curve.rows, {"settings": settings, "seed": cell.seed})


def _rows() -> Iterator[list[str]]:
    for name, task in TASKS.items():
        for method in task.methods:
            frames = STORE.frames(name, method)
            if frames:
                finals = [float(frame["mean"].iloc[-1]) for frame in frames]
                areas = [float(frame["mean"].mean()) for frame in frames]
                minutes = np.median([frame["processor_seconds"].iloc[-1] for frame in frames]) / 60
                steps = f"{int(frames[0]['steps'].iloc[-1]):,}"
                scores = (mean_and_interval(each, ".2f") for each in (finals, areas))
                yield [name, method, str(len(frames)), steps, *scores, f"{minutes:.1f}"]


def table() -> str:
    """Interquartile means over seeds with 95 % intervals."""
    head = ["task", "method", "seeds", "env steps", "final return", "mean over the run", "CPU minutes"]
    return markdown.table(head, _rows())


STUDY = Study(
    run=run,
    store=STORE,
    tasks=TASKS,
    variants=METHODS,
    seeds=tuple(range(5)),
    included=lambda cell: cell.variant in TASKS[cell.task].methods,
    changeable=True,
    tables={"variants": table},
)
