"""The games, and how the paper's policy sees them."""

from typing import Any

import ale_py
import gymnasium as gym
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack

from sb3_trpo.atari import FactoredActions, PaperAtariWrapper

NAMES = {
    "BeamRider": "Beam Rider",
    "Breakout": "Breakout",
    "Enduro": "Enduro",
    "Pong": "Pong",
    "Qbert": "Q*bert",
    "Seaquest": "Seaquest",
    "SpaceInvaders": "Space Invaders",
}


def paper(env: gym.Env) -> gym.Env:
    return FactoredActions(PaperAtariWrapper(env))


def environments(game: str, n_envs: int, seed: int, **kwargs: Any) -> VecFrameStack:
    """The game as the paper's policy sees it, four frames at a time."""
    gym.register_envs(ale_py)
    kwargs = {"obs_type": "grayscale", **kwargs}
    return VecFrameStack(make_vec_env(f"{game}NoFrameskip-v4", n_envs, seed, wrapper_class=paper, env_kwargs=kwargs), 4)


def pong(n_envs: int, wrapper: Any, kind: type[VecEnv] = DummyVecEnv) -> VecFrameStack:
    """Stacks of four pictures of Pong, for measurements of time and memory."""
    return VecFrameStack(make_vec_env("ale_py:PongNoFrameskip-v4", n_envs, seed=0, wrapper_class=wrapper, vec_env_cls=kind), 4)  # type: ignore[arg-type]
