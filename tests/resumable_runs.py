"""Small runs of every kind, which write down all that they end with; started again, they go on from their last checkpoint."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback, StopTrainingOnNoModelImprovement
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecNormalize

from sb3_trpo import TRPO, MaskableRecurrentTRPO, MaskableTRPO, RecurrentTRPO, WorkerVecEnv
from sb3_trpo.checkpoints import ExactCheckpoint, has_checkpoints, resume
from sb3_trpo.simulators import CloneableEnv
from tests.masked import Cells

ROLLOUT = 64  # steps of each environment
SPEEDS = ("time/fps", "time/time_elapsed", "rollout/branch_fps")  # log values that differ from run to run


class PixelEnv(gym.Env):
    """A bright square on a noisy ground; the reward is for telling where it is. Episodes of 20 steps."""

    observation_space = gym.spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)
    action_space = gym.spaces.Discrete(2)

    def _observe(self) -> np.ndarray:
        self.place = int(self.np_random.integers(0, 30))
        picture = self.np_random.integers(0, 100, (36, 36, 1), dtype=np.uint8)
        picture[self.place : self.place + 6, 10:16] = 255
        return picture

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(action == self.place // 15)
        self.time += 1
        return self._observe(), reward, False, self.time == 20, {}


def _cartpole() -> VecEnv:
    return make_vec_env("CartPole-v1", n_envs=2, seed=1)


def _hopper(**options: Any) -> VecEnv:
    return VecNormalize(make_vec_env("Hopper-v5", n_envs=2, seed=1), **options)


def _pendulum() -> VecEnv:
    return VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=1))


def _pictures() -> VecEnv:
    return VecFrameStack(DummyVecEnv([lambda: Monitor(PixelEnv())] * 2), 4)


def _pong() -> VecEnv:
    import ale_py
    from stable_baselines3.common.env_util import make_atari_env

    gym.register_envs(ale_py)
    sticky = {"action_repeat_probability": 0.25}
    return VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=2, seed=1, wrapper_kwargs=sticky), 4)


def _in_processes() -> VecEnv:
    options = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}, "wrapper_class": CloneableEnv}
    return VecNormalize(make_vec_env("CartPole-v1", n_envs=2, seed=1, **options))


def _in_workers() -> VecEnv:
    return VecNormalize(
        make_vec_env("Pendulum-v1", n_envs=3, seed=1, vec_env_cls=WorkerVecEnv, vec_env_kwargs={"n_workers": 2})
    )


def _masked() -> VecEnv:
    return DummyVecEnv([lambda: Monitor(Cells())] * 2)


def _evaluating(folder: Path) -> list[BaseCallback]:
    env = _hopper(training=False, norm_reward=False)
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=50)
    files = {"log_path": str(folder), "best_model_save_path": str(folder)}
    return [EvalCallback(env, callback_after_eval=stop, eval_freq=50, n_eval_episodes=2, verbose=0, **files)]  # type: ignore


@dataclass(frozen=True)
class Kind:
    """A kind of run: what learns, where, how, and for how many rollouts."""

    env: Callable[[], VecEnv] = _cartpole
    algorithm: type[OnPolicyAlgorithm] = TRPO
    policy: str = "MlpPolicy"
    settings: dict[str, Any] = field(default_factory=lambda: {"batch_size": ROLLOUT})
    callbacks: Callable[[Path], list[BaseCallback]] = lambda folder: []
    rollouts: int = 5


KINDS = {
    "cartpole": Kind(),
    "hopper": Kind(_hopper, callbacks=_evaluating),
    "gsde": Kind(_pendulum, settings={"use_sde": True, "sde_sample_freq": 16}),
    "masked": Kind(_masked, MaskableTRPO),
    "masked recurrent": Kind(
        _masked,
        MaskableRecurrentTRPO,
        "MlpLstmPolicy",
        {"batch_size": ROLLOUT, "policy_kwargs": {"lstm_hidden_size": 16}},
    ),
    "pictures": Kind(
        _pictures, policy="CnnPolicy", settings={"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}}}
    ),
    "pong": Kind(_pong, policy="PaperCnnPolicy", rollouts=4),
    "vine": Kind(settings={"sampling": "vine", "vine_kwargs": {"branch_length": 4}}, rollouts=9),
    "vine in processes": Kind(
        _pendulum, settings={"sampling": "vine", "vine_kwargs": {"n_workers": 1, "branch_length": 4}}, rollouts=9
    ),
    "processes": Kind(_in_processes),
    "workers": Kind(_in_workers),
    "recurrent": Kind(
        _pendulum, RecurrentTRPO, "MlpLstmPolicy", {"batch_size": ROLLOUT, "policy_kwargs": {"lstm_hidden_size": 16}}
    ),
    "ppo": Kind(_hopper, PPO, callbacks=_evaluating),
    "recurrent ppo": Kind(
        algorithm=RecurrentPPO, policy="MlpLstmPolicy", settings={"policy_kwargs": {"lstm_hidden_size": 16}}
    ),
    "a2c": Kind(algorithm=A2C, settings={"use_sde": False}),
    "ppo gsde": Kind(_pendulum, PPO, settings={"use_sde": True}),
}


def train(name: str, folder: Path, rollouts: int | None = None, every_steps: int = 1, **options: Any) -> OnPolicyAlgorithm:
    """Train to the end, from the last checkpoint in the folder if there is one.

    :param name: of the kind
    :param folder: for checkpoints, logs and evaluations
    :param rollouts: after which it stops, as if killed between two of them; None for all
    :param every_steps: env steps between checkpoints
    :param options: of ExactCheckpoint
    """
    th.set_num_threads(1)
    kind = KINDS[name]
    checkpoints = folder / "checkpoints"
    checkpoint = ExactCheckpoint(checkpoints, every_steps=every_steps, **options)
    settings = {"n_steps": ROLLOUT, "device": "cpu", "seed": 3, **kind.settings}
    if has_checkpoints(checkpoints):
        model = resume(kind.algorithm, checkpoints, kind.env(), **settings)
    else:
        model = kind.algorithm(kind.policy, kind.env(), **settings)
        model.set_logger(configure(str(logs(folder)), ["json"]))
    total = kind.rollouts * ROLLOUT * model.n_envs
    callbacks = [*kind.callbacks(folder), checkpoint, *([] if rollouts is None else [Leave(rollouts)])]
    return model.learn(total, callbacks, log_interval=2)


def logs(folder: Path) -> Path:
    """Of this rank."""
    return folder / os.environ.get("RANK", "")


class Left(Exception):
    """What a run was left with that was to be left after some rollouts."""


class Leave(BaseCallback):
    """Leaves a run in the middle of a rollout."""

    def __init__(self, rollouts: int):
        super().__init__()
        self.calls_left = rollouts * ROLLOUT + ROLLOUT // 2

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass

    def _on_step(self) -> bool:
        self.calls_left -= 1
        if not self.calls_left:
            raise Left
        return True


def outcome(model: OnPolicyAlgorithm, folder: Path) -> dict[str, Any]:
    """All that a run has come to, speeds apart: tensors as bytes, so that equal means equal bit for bit."""
    found: dict[str, Any] = {key: value.numpy().tobytes() for key, value in model.policy.state_dict().items()}
    for index, state in model.policy.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{key}": value.numpy().tobytes() for key, value in state.items()}
    normalize = model.get_vec_normalize_env()
    if normalize is not None:
        for key, statistics in (("observations", normalize.obs_rms), ("returns", normalize.ret_rms)):
            found[key] = statistics.mean.tobytes(), np.asarray(statistics.var).tobytes(), statistics.count  # type: ignore
    rows = [json.loads(line) for line in (logs(folder) / "progress.json").read_text().splitlines()]
    found["log"] = [{key: repr(value) for key, value in row.items() if key not in SPEEDS} for row in rows]
    if (folder / "evaluations.npz").exists():
        found["evaluations"] = {key: value.tobytes() for key, value in np.load(folder / "evaluations.npz").items()}
    found["steps"], found["episodes"] = model.num_timesteps, [(each["r"], each["l"]) for each in model.ep_info_buffer or ()]
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what is not the same in two outcomes."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
