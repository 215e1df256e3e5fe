"""The paper's Atari table (section 8.2): single path, vine and SB3's PPO on seven games, at equal simulator steps.

    python -m benchmarks.atari                                                # everything, one run after the other
    python -m benchmarks.atari --games Pong --methods single_path --steps 500000 --seed 0

All three have the paper's network with a critic of the same kind, its 52×40 pictures and its factored actions; TRPO's
settings are those of the entry "atari" in sb3_trpo/hyperparams/trpo.yml, PPO's those of RL Zoo. The steps of the vine's
branches count. While a run goes on, a CSV gets the mean score of the last hundred training episodes: whole games, rewards
not clipped. It ends with twenty games on fresh environments, actions drawn from the policy, and a JSON file of these scores,
settings, versions and wall time.

A run whose JSON exists is skipped. One that was killed goes on from its last checkpoint, with the emulators, the random
generators and everything else as they were, so that it ends as it would have ended. ``--until`` ends a run early, once the
mean of the last hundred training episodes is that high.
"""

import argparse
import csv
import json
import os
import pickle
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import rl_zoo3
import torch as th
import yaml
from rl_zoo3.utils import linear_schedule
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecFrameStack

import sb3_trpo
from benchmarks.environment import RESULTS, describe
from benchmarks.training import assignment
from sb3_trpo.atari import FactoredActions, PaperAtariWrapper, PaperCnnPolicy
from sb3_trpo.rollouts import clone_rows, restore_rows

GAMES = ("BeamRider", "Breakout", "Enduro", "Pong", "Qbert", "Seaquest", "SpaceInvaders")
METHODS = ("single_path", "vine", "ppo")
RUNS = RESULTS / "atari" / "runs"
UNFINISHED = Path("runs") / "atari"  # checkpoints and models, which are not committed
EVERY = 10_000  # steps between two rows of the CSV
EPISODES = 20
ZOO_KEYS = ("n_envs", "n_timesteps", "env_wrapper", "frame_stack", "policy")


def paper(env: gym.Env) -> gym.Env:
    return FactoredActions(PaperAtariWrapper(env))


def environments(game: str, n_envs: int, seed: int, **kwargs: Any) -> VecFrameStack:
    """The game as the paper's policy sees it, four frames at a time."""
    gym.register_envs(ale_py)
    kwargs = {"obs_type": "grayscale", **kwargs}
    return VecFrameStack(make_vec_env(f"{game}NoFrameskip-v4", n_envs, seed, wrapper_class=paper, env_kwargs=kwargs), 4)


def settings_for(method: str) -> dict[str, Any]:
    """Arguments of the algorithm's constructor and ``n_envs``."""
    file = files(rl_zoo3 if method == "ppo" else sb3_trpo) / "hyperparams" / ("ppo.yml" if method == "ppo" else "trpo.yml")
    entry = yaml.safe_load(file.read_text())["atari"]
    settings = {name: value for name, value in entry.items() if name not in ZOO_KEYS}
    return {"n_envs": entry["n_envs"], **settings, **({"sampling": "vine"} if method == "vine" else {})}


def new_model(method: str, game: str, seed: int, settings: dict[str, Any]) -> OnPolicyAlgorithm:
    arguments = dict(settings)
    env = environments(game, arguments.pop("n_envs"), seed)
    for name, value in arguments.items():
        if isinstance(value, str) and value.startswith("lin_"):
            arguments[name] = linear_schedule(float(value.removeprefix("lin_")))
    algorithm = PPO if method == "ppo" else sb3_trpo.TRPO
    return algorithm(PaperCnnPolicy, env, seed=seed, device="cpu", **arguments)


class Progress(BaseCallback):
    """Writes the CSV and the checkpoints, and ends a run that is good enough.

    :param stem: path of the run's files
    :param minutes: between two checkpoints
    :param until: mean score at which to end
    """

    def __init__(self, stem: Path, minutes: float, until: float):
        super().__init__()
        self.table = RUNS / stem.with_suffix(".csv")
        self.checkpoint = UNFINISHED / stem.with_suffix(".checkpoint")
        self.minutes, self.until = minutes, until
        self.rows: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.finished = False

    def resume(self, algorithm: type[OnPolicyAlgorithm], env: VecFrameStack) -> OnPolicyAlgorithm:
        """The model of the checkpoint, with environments and random generators as they were."""
        saved = pickle.loads(self.checkpoint.read_bytes())
        model = algorithm.load(self.checkpoint.with_suffix(f".{saved['steps']}.zip"), env, device="cpu", force_reset=False)
        restore_rows(env, saved["environments"])
        th.set_rng_state(saved["torch"])
        np.random.set_state(saved["numpy"])
        self.rows, self.seconds = saved["rows"], saved["seconds"]
        return model

    def _on_training_start(self) -> None:
        self.last_time = self.last_checkpoint = time.perf_counter()

    def _on_rollout_start(self) -> None:
        self._count_time()
        if self.model.num_timesteps >= EVERY * (len(self.rows) + 1):
            self._write_row()
        if self.last_time - self.last_checkpoint > 60.0 * self.minutes:
            self._save()
            self.last_checkpoint = self.last_time

    def _on_step(self) -> bool:
        return not self.finished

    def _on_training_end(self) -> None:
        self._count_time()
        self._write_row()

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.seconds, self.last_time = self.seconds + now - self.last_time, now

    def _write_row(self) -> None:
        scores = [episode["r"] for episode in self.model.ep_info_buffer or ()]
        mean = float(np.mean(scores)) if scores else float("nan")
        self.rows.append({"steps": self.model.num_timesteps, "mean": round(mean, 3), "seconds": round(self.seconds, 1)})
        self.finished = len(scores) == self.model._stats_window_size and mean >= self.until
        self.table.parent.mkdir(parents=True, exist_ok=True)
        with self.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        print(self.table.parent.name, self.table.stem, self.rows[-1], flush=True)

    def _save(self) -> None:
        """The model first; the checkpoint that names it takes the place of the last one in a single step."""
        saved = {
            "steps": self.model.num_timesteps,
            "environments": clone_rows(self.training_env),
            "torch": th.get_rng_state(),
            "numpy": np.random.get_state(),
            "rows": self.rows,
            "seconds": self.seconds,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        model = self.checkpoint.with_suffix(f".{self.model.num_timesteps}.zip")
        self.model.save(model)
        part = self.checkpoint.with_suffix(".part")
        part.write_bytes(pickle.dumps(saved))
        os.replace(part, self.checkpoint)
        for old in self.checkpoint.parent.glob(f"{self.checkpoint.stem}.*.zip"):
            if old != model:
                old.unlink()

    def forget(self) -> None:
        """Remove the checkpoint of a run that is over."""
        for file in (self.checkpoint, *self.checkpoint.parent.glob(f"{self.checkpoint.stem}.*.zip")):
            file.unlink(missing_ok=True)


def run(method: str, game: str, args: argparse.Namespace) -> None:
    """Train, evaluate and write one run, from its checkpoint if there is one."""
    stem = Path(game) / f"{args.label or method}_seed{args.seed}"
    result = RUNS / stem.with_suffix(".json")
    if result.exists():
        print(f"{result} exists: nothing to do")
        return
    settings = {**settings_for(method), **args.set}
    progress = Progress(stem, args.checkpoint_minutes, args.until)
    model = new_model(method, game, args.seed, settings)
    if progress.checkpoint.exists():
        model = progress.resume(type(model), model.env)  # type: ignore[arg-type]
    model.learn(args.steps - model.num_timesteps, callback=progress, reset_num_timesteps=False)
    model.save(UNFINISHED / stem.with_suffix(".zip"))
    scores: Any
    scores, _ = evaluate_policy(
        model, environments(game, 4, args.seed + 10_000), EPISODES, deterministic=False, return_episode_rewards=True
    )
    record = {
        **describe(),
        "seed": args.seed,
        "settings": settings,
        "steps": model.num_timesteps,
        "train_seconds": round(progress.seconds),
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores)),
        "scores": [float(score) for score in scores],
    }
    result.write_text(json.dumps(record, indent=2) + "\n")
    progress.forget()
    print(result, record["mean"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=GAMES, default=GAMES)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--steps", type=int, default=500_000, help="simulator steps of each run, branches included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until", type=float, default=float("inf"), help="mean score at which a run ends")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0)
    parser.add_argument("--set", nargs="*", type=assignment, default=[], metavar="NAME=VALUE", help="other settings")
    parser.add_argument("--label", help="name of the run in the results (default: the method's)")
    args = parser.parse_args()
    args.set = dict(args.set)
    th.set_num_threads(1)
    for game in args.games:
        for method in args.methods:
            run(method, game, args)


if __name__ == "__main__":
    main()
