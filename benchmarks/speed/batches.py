"""The same rollout and the same policy for several algorithms, so that their updates can be timed on identical data."""

from typing import Any

import gymnasium as gym
import numpy as np
import sb3_contrib
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from sb3_trpo import TRPO

Pair = tuple[sb3_contrib.TRPO, TRPO]


class FrameEnv(gym.Env):
    """Stacks of four 84×84 grey frames, six actions, without an emulator: speed and memory do not depend on the game."""

    observation_space = spaces.Box(0, 255, (4, 84, 84), dtype=np.uint8)
    action_space = spaces.Discrete(6)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self.observation_space.low, {}

    @staticmethod
    def frames(rng: np.random.Generator, count: int) -> np.ndarray:
        """Sparse bright blocks on black, moving from frame to frame, as in a game: ``[count, 4, 84, 84]`` bytes."""
        frames = np.zeros((count, 4, 84, 84), dtype=np.uint8)
        for stack in frames:
            for x, y in rng.integers(0, 76, (6, 2)):
                for shift, frame in enumerate(stack):
                    frame[y : y + 6, x + shift : x + shift + 3] = 200
        return frames


def give(model: OnPolicyAlgorithm, source: OnPolicyAlgorithm) -> None:
    """Put a model where another one is: parameters, optimizer and rollout."""
    model.policy.load_state_dict(source.policy.state_dict())
    model.rollout_buffer.reset()
    for name in ("observations", "actions", "rewards", "values", "log_probs", "advantages", "returns", "episode_starts"):
        setattr(model.rollout_buffer, name, getattr(source.rollout_buffer, name).copy())
    model.rollout_buffer.full, model.rollout_buffer.pos = True, model.rollout_buffer.buffer_size


def mujoco_pair(env_id: str, n_steps: int, n_updates: int, **ours: Any) -> tuple[OnPolicyAlgorithm, Pair]:
    """A source trained for some updates with a rollout in its buffer, and sb3-contrib's and our model for its data.

    sb3-contrib gets the ``target_kl`` and ``cg_damping`` with which it proposes the same step.
    """
    env = VecNormalize(make_vec_env(env_id, 1, seed=0))
    settings: dict[str, Any] = {"n_steps": n_steps, "batch_size": 128, "device": "cpu", "seed": 0}
    source = TRPO("MlpPolicy", env, **settings)
    source.learn(n_steps * n_updates)
    train, source.train = source.train, lambda: None  # type: ignore[method-assign]
    source.learn(n_steps, reset_num_timesteps=False)
    source.train = train  # type: ignore[method-assign]
    dims = spaces.flatdim(env.action_space)
    contrib = sb3_contrib.TRPO("MlpPolicy", env, target_kl=0.01 / dims, cg_damping=0.1 / dims, **settings)
    return source, (contrib, TRPO("MlpPolicy", env, **settings, **ours))


def frames_pair(n_frames: int, **ours: Any) -> tuple[OnPolicyAlgorithm, Pair]:
    """As :func:`mujoco_pair` with an untrained NatureCNN on stacked Atari-sized frames and random advantages."""
    env = FrameEnv()
    settings: dict[str, Any] = {"n_steps": n_frames, "batch_size": 128, "device": "cpu", "seed": 0}
    source = sb3_contrib.TRPO("CnnPolicy", env, **settings)
    buffer, rng = source.rollout_buffer, np.random.default_rng(0)
    buffer.observations[:] = FrameEnv.frames(rng, n_frames)[:, None]
    buffer.actions[:] = rng.integers(0, env.action_space.n, buffer.actions.shape)
    with th.no_grad():
        for start in range(0, n_frames, 128):
            rows = slice(start, start + 128)
            observations = th.as_tensor(buffer.observations[rows, 0])
            _, log_probs, _ = source.policy.evaluate_actions(observations, th.as_tensor(buffer.actions[rows, 0, 0]))
            buffer.log_probs[rows, 0] = log_probs.numpy()
    buffer.advantages[:] = rng.normal(size=buffer.advantages.shape)
    buffer.returns[:] = rng.normal(size=buffer.returns.shape)
    models = sb3_contrib.TRPO("CnnPolicy", env, **settings), TRPO("CnnPolicy", env, **settings, **ours)
    return source, models


def silence(model: Any) -> Any:
    """Give a model that never learned a logger without outputs."""
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model
