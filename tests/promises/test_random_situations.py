"""Training in situations that are drawn at random: it keeps its promises or is refused in words, and nothing else happens.

``SB3_TRPO_SITUATIONS=200`` looks for new ones; a failure names its number.
"""

import os
import warnings
from collections import Counter
from functools import partial
from numbers import Real
from typing import Any
from zlib import crc32

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces, wrappers
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.sampling.vine import envs
from sb3_trpo.simulators import CloneableEnv
from sb3_trpo.trust_region import Status
from tests.promises.test_random_environments import Random
from tests.toys import buffer_observations, joint_kl, snapshot

SITUATIONS = int(os.environ.get("SB3_TRPO_SITUATIONS", "8"))
STEPS = 16
ACTIONS = [
    *(spaces.Discrete(2), spaces.Discrete(5), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)),
    *(spaces.Box(-1.0, 1.0, (1,)), spaces.Box(-2.0, 3.0, (2, 2)), spaces.Box(0.0, 1.0, (3,), np.float64)),
]


class Situation(gym.Wrapper):
    """An environment with attributes of random kinds, whose observation and reward depend on all of them.

    :param env: one of these
    :param actions: action space
    :param form: of the observations: ``"vector"``, ``"dict"`` or ``"number"``
    :param keeps: whether it keeps what it is given and gives, and writes into its actions
    """

    def __init__(self, env: gym.Env, actions: spaces.Space, form: str, keeps: bool):
        super().__init__(env)
        self.action_space, self.form, self.keeps = actions, form, keeps
        vector = spaces.Box(-1.0, 1.0, (3,))
        numbered = spaces.Discrete(7)
        both = spaces.Dict({"vector": vector, "number": numbered})
        self.observation_space = {"vector": vector, "number": numbered, "dict": both}[form]

    def _observe(self, obs: np.ndarray) -> Any:
        parts = np.array([crc32(obs.tobytes() + bytes([place])) for place in range(3)]) / 2.0**31 - 1.0
        vector, number = parts.astype(np.float32), int(obs[0]) % 7
        return {"vector": vector, "number": number, "dict": {"vector": vector, "number": number}}[self.form]

    def reset(self, **settings: Any) -> Any:
        obs, info = self.env.reset(**settings)
        return self._observe(obs), info

    def step(self, action: Any) -> Any:
        total = float(np.sum(action))
        obs, _, *rest = self.env.step(int(abs(total)) % 2)
        shown = self._observe(obs)
        if self.keeps:
            self.kept = action, shown, vars(self).get("kept", ())[:2]
            if isinstance(action, np.ndarray):
                action += 1
        return shown, float(np.float32(total * (int(obs[0]) % 5 - 2))), *rest


def made(seed: int, generator_seed: int, cloneable: bool) -> gym.Env:
    generator = np.random.default_rng(generator_seed)
    env: gym.Env = Random(seed)
    form = str(generator.choice(["vector", "dict", "number"]))
    env = Situation(env, ACTIONS[generator.integers(len(ACTIONS))], form, bool(generator.random() < 0.4))
    env = wrappers.TimeLimit(env, int(generator.integers(2, 12)))
    if form == "vector" and generator.random() < 0.3:
        env = wrappers.FrameStackObservation(env, 2)
    if generator.random() < 0.3:
        env = wrappers.TransformReward(env, partial(np.multiply, 0.5))
    if generator.random() < 0.3:
        env = wrappers.RecordEpisodeStatistics(env)
    if generator.random() < 0.5:
        env = Monitor(env)
    return CloneableEnv(env) if cloneable else env


def vec_env(seed: int, generator: np.random.Generator) -> VecEnv:
    count, chance = int(generator.integers(1, 4)), generator.random()
    makers = [partial(made, seed, seed, chance < 0.03)] * count
    if chance < 0.03:  # processes that start take seconds
        env: VecEnv = SubprocVecEnv(makers, start_method=str(generator.choice(["fork", "forkserver", "spawn"])))
    else:
        env = DummyVecEnv(makers)  # type: ignore[arg-type]
    vector = isinstance(env.observation_space, spaces.Box)
    if generator.random() < 0.3:
        env = VecMonitor(env)
    if vector and generator.random() < 0.3:
        env = VecFrameStack(env, 2)
    if not isinstance(env.observation_space, spaces.Discrete) and generator.random() < 0.3:
        env = VecNormalize(env, norm_obs_keys=None if vector else ["vector"], gamma=0.9)
    return env


def settings_of(env: VecEnv, generator: np.random.Generator) -> dict[str, Any]:
    policy_kwargs: dict[str, Any] = {
        "net_arch": [[], [8], {"pi": [8], "vf": [4, 4]}][generator.integers(3)],
        "activation_fn": [nn.Tanh, nn.ReLU, nn.ELU][generator.integers(3)],
        "share_features_extractor": bool(generator.random() < 0.7),
        "ortho_init": bool(generator.random() < 0.5),
    }
    use_sde = isinstance(env.action_space, spaces.Box) and generator.random() < 0.4
    if use_sde:
        policy_kwargs |= {"squash_output": bool(generator.random() < 0.5), "full_std": bool(generator.random() < 0.5)}
    return {
        "policy": "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy",
        "n_steps": STEPS,
        "batch_size": 8,
        "seed": int(generator.integers(100)),
        "policy_kwargs": policy_kwargs,
        "use_sde": bool(use_sde),
        "sde_sample_freq": int(generator.choice([-1, 3])),
        "ent_coef": float(generator.choice([0.0, 0.01])),
        "advantage_estimator": str(generator.choice(["gae", "monte_carlo"])),
        "fisher_sample_fraction": float(generator.choice([1.0, 0.5])),
        "normalize_advantage": bool(generator.random() < 0.8),
    }


def outcome(number: int) -> str:
    """What comes of one rollout and update with a vine, beside the same without.

    Truth: the path is the one that there is without branches, and the KL divergence is PyTorch's.
    """
    paths, verdict = [], "trained"
    for sampling in ("single_path", "vine"):
        generator = np.random.default_rng([number, 1])
        env = vec_env(number, generator)
        try:
            settings = settings_of(env, generator)
            if sampling == "vine":
                vine = {"n_states": 4, "branch_length": int(generator.integers(1, 6))}
                vine["n_workers"] = int(generator.random() < 0.02)
                settings |= {"sampling": sampling, "vine_kwargs": vine}
            model = TRPO(env=env, device="cpu", **settings)
            before = snapshot(model)
            model.learn(1)
            if sampling == "vine":
                model.close_vine()
        except ValueError as error:
            assert sampling == "vine" and "cannot be copied" in str(error), (number, error)
            return "refused"
        finally:
            env.close()
        check(model, before)
        buffer = model.rollout_buffer
        observations = buffer.observations if isinstance(buffer.observations, dict) else {"": buffer.observations}
        paths.append([*observations.values(), buffer.actions, buffer.rewards, buffer.episode_starts])
    for alone, with_branches in zip(*paths, strict=True):
        if alone.tobytes() != with_branches.tobytes():
            verdict = "wrong"
    return verdict


def check(model: TRPO, before: Any) -> None:
    """Numbers are logged, the divergence is what is logged and within the bound, and a refused step moves nothing."""
    assert all(isinstance(value, Real) for value in model.logger.name_to_value.values())
    status, logged = model.last_update["train/status"], model.last_update["train/kl_divergence_loss"]
    kl = float(joint_kl(before, model.policy, buffer_observations(model)).mean())
    assert kl <= 1.01 * model.target_kl and kl == pytest.approx(logged, rel=0.02, abs=1e-5)
    assert status in (Status.OK, Status.ZERO_GRADIENT, Status.NO_CANDIDATE) and (status is Status.OK or kl == 0.0)
    assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())


def test_training_keeps_its_promises_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envs, "CHECKED_STEPS", 5)  # these environments are slow, and what they hold grows with every step
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {number: outcome(number) for number in range(SITUATIONS)}
    assert not [number for number, verdict in found.items() if verdict == "wrong"]
    counts = Counter(found.values())
    assert counts["trained"] > 0.3 * SITUATIONS, counts
