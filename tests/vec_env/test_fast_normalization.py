"""The short way through VecNormalize: bit for bit what SB3's gives and keeps, and a user's own is left alone."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_trpo.vec_env.fast_normalization import quick_step


class Numbers(gym.Env):
    """Random observations of some scale and rewards, episodes of different lengths."""

    def __init__(self, width: int, dtype: Any):
        self.observation_space, self.action_space = spaces.Box(-9, 9, (width,), dtype), spaces.Box(-1, 1, (1,))
        self.steps = 0

    def _obs(self) -> np.ndarray:
        scale = np.arange(1, self.observation_space.shape[0] + 1)
        return (self.np_random.normal(size=scale.shape) * scale).astype(self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._obs(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        return self._obs(), float(30.0 * self.np_random.normal()), self.np_random.random() < 0.1, self.steps % 17 == 0, {}


def bits(*values: Any) -> list[Any]:
    return [(type(value), np.asarray(value).dtype, np.asarray(value).shape, np.asarray(value).tobytes()) for value in values]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_envs", [1, 2, 3, 9])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm_obs": False},
        {"norm_reward": False},
        {"training": False},
        {"clip_obs": 1.0, "clip_reward": 0.5, "gamma": 0.5},
    ],
)
def test_every_bit_is_the_same(dtype, n_envs, options):
    for width in (1, 17):
        quick, plain = (VecNormalize(DummyVecEnv([lambda: Numbers(width, dtype)] * n_envs), **options) for _ in range(2))  # noqa: B023
        for env in (quick, plain):
            env.seed(0)
            env.reset()
        step = quick_step(quick)
        assert step != quick.step
        for number in range(60):
            found, expected = (each(np.zeros((n_envs, 1))) for each in (step, plain.step))
            assert bits(*found[:3]) == bits(*expected[:3])
            for a, b in zip(found[3], expected[3], strict=True):
                assert a.keys() == b.keys() and bits(*a.values()) == bits(*b.values())
            for name in ("obs_rms", "ret_rms"):
                if options.get("norm_obs", True) or name == "ret_rms":
                    a, b = getattr(quick, name), getattr(plain, name)
                    assert bits(a.mean, a.var, a.count) == bits(b.mean, b.var, b.count)
            assert bits(quick.returns, quick.old_obs, quick.old_reward) == bits(plain.returns, plain.old_obs, plain.old_reward)
            if number == 30:
                assert bits(quick.reset()) == bits(plain.reset())


def test_what_is_not_finite_stays_so():
    for value in (np.nan, np.inf, -np.inf):
        outputs = []
        for quick in (True, False):
            env = VecNormalize(DummyVecEnv([lambda: Numbers(3, np.float64)] * 2))
            env.seed(0)
            env.reset()
            env.venv.envs[1]._obs = lambda value=value: np.array([0.0, value, 1.0])
            step = quick_step(env) if quick else env.step
            with np.errstate(all="ignore"):
                outputs.append([bits(*step(np.zeros((2, 1)))[:3]) for _ in range(2)])
        assert outputs[0] == outputs[1]


class Own(VecNormalize):
    """A subclass."""


def test_anything_else_is_stepped_as_it_is():
    inner = DummyVecEnv([lambda: Numbers(2, np.float64)])
    own, patched, plain = Own(inner), VecNormalize(inner), VecNormalize(inner)
    patched.normalize_obs = lambda obs: obs
    plain.obs_rms = type("Mine", (type(plain.obs_rms),), {})(shape=(2,))
    assert all(quick_step(env) == env.step for env in (own, patched, plain, inner))
