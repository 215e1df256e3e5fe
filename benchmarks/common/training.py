"""One training run, evaluated on the way: what every benchmark of learning is made of."""

import os
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any

import gymnasium as gym
import numpy as np
import rl_zoo3
import torch as th
import yaml
from rl_zoo3.utils import linear_schedule
from sb3_contrib import TRPO as ContribTRPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch.distributions import kl_divergence

import sb3_trpo
from benchmarks.common.stores import Run

ALGORITHMS = {"sb3_trpo": sb3_trpo.TRPO, "sb3_contrib": ContribTRPO, "ppo": PPO}
EVALUATED_AT_ONCE = 5
RANK, N_RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun


def settings_for(algo: str, env_id: str) -> dict[str, Any]:
    """The task's settings: ours for our TRPO, RL Zoo's for the others, whose files end at ``-v4`` for MuJoCo."""
    folder = files(sb3_trpo if algo == "sb3_trpo" else rl_zoo3) / "hyperparams"
    entries = yaml.safe_load((folder / ("ppo.yml" if algo == "ppo" else "trpo.yml")).read_text())
    return dict(entries.get(env_id) or entries.get(env_id.replace("-v5", "-v4")) or entries["default"])


def policy_kwargs_of(settings: dict[str, Any]) -> dict[str, Any]:
    """What the settings say about networks; RL Zoo's files have code there."""
    given = settings.get("policy_kwargs") or {}
    return dict(eval(given, {"nn": th.nn, "dict": dict}) if isinstance(given, str) else given)


def with_schedules(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with a function of the remaining progress where RL Zoo's files have a text such as ``lin_0.05``."""
    return {
        name: linear_schedule(value.removeprefix("lin_")) if isinstance(value, str) and value.startswith("lin_") else value
        for name, value in settings.items()
    }


@dataclass
class Plan:
    """A run.

    :param algo: of ``ALGORITHMS``
    :param env_id: the task
    :param settings: as in RL Zoo's files
    :param steps: env steps
    :param seed: of everything; evaluation has its own
    :param every: env steps between evaluations
    :param episodes: of an evaluation
    :param final_episodes: of the last one
    :param wrap: put around the training environments, inside VecNormalize
    :param methods: what TRPO does instead of its own methods of these names
    """

    algo: str
    env_id: str
    settings: dict[str, Any]
    steps: int
    seed: int
    every: int = 20_000
    episodes: int = 5
    final_episodes: int = 5
    wrap: Callable[[VecEnv], VecEnv] | None = None
    methods: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """What a variant of TRPO has that others have not.

    :param settings: of TRPO
    :param methods: in place of TRPO's, by name
    :param wrap: put around the training environments, inside VecNormalize; of the seed
    :param only: tasks that it is tried on; None for all
    """

    settings: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, Any] = field(default_factory=dict)
    wrap: Callable[[int, VecEnv], VecEnv] | None = None
    only: tuple[str, ...] | None = None


class Observer(BaseCallback):
    """Evaluates at the end of the first rollout after every ``every`` steps, and measures the KL of every update.

    What it does itself is not counted in the times. The processor's time is that of a machine to itself, because a run has one
    thread; the clock's depends on what else runs.

    :param env: to evaluate in
    :param plan: says how often
    :param report: gets every evaluation; what it raises ends the run
    """

    def __init__(self, env: VecEnv, plan: Plan, report: Callable[[dict[str, float]], object]):
        super().__init__()
        self.env, self.plan, self.report = env, plan, report
        self.rows: list[dict[str, float]] = []
        self.kl: list[float] = []
        self.rollout: th.Tensor | None = None
        self.before: Any = None
        self.spent = np.zeros(2)
        self.started = self._clocks()

    @staticmethod
    def _clocks() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        begin = self._clocks()
        if self.num_timesteps // self.plan.every > (self.rows[-1]["steps"] // self.plan.every if self.rows else 0):
            self._evaluate(begin, self.plan.episodes)
        if self.plan.algo != "ppo":
            observations = np.array(self.model.rollout_buffer.observations)  # type: ignore[attr-defined]
            self.rollout = th.as_tensor(observations.reshape(-1, *observations.shape[2:]))
            self.before = self._distribution()
        self.spent += self._clocks() - begin

    def _on_rollout_start(self) -> None:
        begin = self._clocks()
        self._measure_kl()
        self.spent += self._clocks() - begin

    def _on_training_end(self) -> None:
        begin = self._clocks()
        self._measure_kl()
        self._evaluate(begin, self.plan.final_episodes)

    def _distribution(self) -> Any:
        self.model.policy.set_training_mode(False)
        with th.no_grad():
            return self.model.policy.get_distribution(self.rollout).distribution  # type: ignore[operator]

    def _measure_kl(self) -> None:
        """Of the joint action, old policy first, mean over the rollout's states: after everything that an update does."""
        if self.before is None:
            return
        divergence = kl_divergence(self.before, self._distribution())
        self.kl.append(float(f"{divergence.reshape(len(divergence), -1).sum(dim=1).mean():.6g}"))
        self.before = None

    def _evaluate(self, begin: np.ndarray, episodes: int) -> None:
        wall, processor = begin - self.started - self.spent
        normalization = self.model.get_vec_normalize_env()
        if normalization is not None and isinstance(self.env, VecNormalize) and self.env.norm_obs:
            self.env.obs_rms = deepcopy(normalization.obs_rms)
        rewards, _ = evaluate_policy(self.model, self.env, episodes, return_episode_rewards=True)
        row: dict[str, float] = {
            "steps": self.num_timesteps,
            "mean": round(float(np.mean(rewards)), 3),
            "std": round(float(np.std(rewards)), 3),
            "train_seconds": round(float(wall), 2),
            "processor_seconds": round(float(processor), 2),
        }
        self.rows.append(row)
        self.report(row)


def make_model(
    algorithm: Any,
    make_env: str | Callable[[], gym.Env],
    settings: Mapping[str, Any],
    seed: int,
    wrap: Callable[[VecEnv], VecEnv] | None = None,
    **options: Any,
) -> Any:
    """A model and its environments, by the settings of RL Zoo's files; under torchrun, the ranks share the environments out.

    :param algorithm: the class
    :param make_env: an id or a function
    :param settings: as in RL Zoo's files
    :param seed: of the model and its environments
    :param wrap: put around the environments, inside VecNormalize
    :param options: of SB3's ``make_vec_env``
    """
    settings = with_schedules(settings)
    settings.pop("n_timesteps", None)
    n_envs, normalize = settings.pop("n_envs", 1), settings.pop("normalize", False)
    env: VecEnv = make_vec_env(make_env, n_envs // N_RANKS, seed, **options)
    env = wrap(env) if wrap else env
    if normalize:
        env = VecNormalize(env, gamma=settings.get("gamma", 0.99), **(normalize if isinstance(normalize, dict) else {}))
    settings["policy_kwargs"] = policy_kwargs_of(settings)
    return algorithm(**{"policy": "MlpPolicy", **settings}, env=env, seed=seed, device="cpu")


def evaluation_envs(make_env: str | Callable[[], gym.Env], settings: Mapping[str, Any], seed: int) -> VecEnv:
    """Environments with seeds of their own and rewards as they are; normalised as in training."""
    env: VecEnv = make_vec_env(make_env, EVALUATED_AT_ONCE, seed + 10_000)
    normalize = settings.get("normalize", False)
    options = {**(normalize if isinstance(normalize, dict) else {}), "norm_reward": False}
    return VecNormalize(env, training=False, **options) if normalize else env


def train(
    plan: Plan, report: Callable[[dict[str, float]], object] = print, observer: type[Observer] = Observer
) -> tuple[BaseAlgorithm, Observer]:
    """Train one model and return it with its evaluations, the last one made after the last update. Under torchrun the first of
    the ranks evaluates.

    :param plan: the run
    :param report: gets every evaluation; what it raises ends the run
    :param observer: what evaluates
    """
    algorithm: Any = ALGORITHMS[plan.algo]
    if plan.methods:
        algorithm = type(algorithm.__name__, (algorithm,), dict(plan.methods))
    model = make_model(algorithm, plan.env_id, plan.settings, plan.seed, plan.wrap)
    observing = observer(evaluation_envs(plan.env_id, plan.settings, plan.seed), plan, report)
    model.learn(plan.steps, callback=observing if RANK == 0 else None)
    return model, observing


def make_run(plan: Plan, changes: Mapping[str, Any]) -> Run | None:
    """What a store keeps of a run; None on all ranks but the first.

    :param plan: the run
    :param changes: settings of the command line, ``n_timesteps`` among them where other steps are wanted
    """
    plan = replace(plan, settings={**plan.settings, **changes}, steps=int(changes.get("n_timesteps", plan.steps)))
    _, observer = train(plan)
    notes = {"ranks": N_RANKS, "settings": plan.settings, "seed": plan.seed, "kl": observer.kl}
    return Run(observer.rows, notes) if RANK == 0 else None
