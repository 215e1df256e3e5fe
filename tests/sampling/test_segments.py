"""Rollouts run in workers are those run step by step here, bit for bit; what they share is put together exactly."""

import threading
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from sb3_trpo import TRPO, WorkerVecEnv
from sb3_trpo.sampling import segmented_path
from sb3_trpo.sampling.infos import pack, unpack
from tests.toys import BOX_ACTIONS, BOX_OBSERVATIONS, DICT_OBSERVATIONS, ToyEnv, parameters, same
from tests.vec_env.test_worker_vec_env import equal

N_ENVS = 4
IMAGES = spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)


class Toy(ToyEnv):
    """Pictures where the space says so; infos with numbers of all kinds; rewards that no action has a part in."""

    def _observe(self) -> Any:
        obs = super()._observe()
        return self.np_random.integers(0, 256, IMAGES.shape, dtype=np.uint8) if self.observation_space == IMAGES else obs

    def reset(self, **options: Any) -> tuple[Any, dict]:
        return super().reset(**options)[0], {"begins": int(self.np_random.integers(1_000))}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, reward, terminated, truncated, _ = super().step(action)
        infos = {"reward": np.float64(reward), "time": self.time, "where": self.context.copy(), "half": np.float32(0.5)}
        if self.time % 3 == 0:
            infos["third"] = [self.time]
        return obs, reward if self.action_space != BOX_ACTIONS else float(self.context.sum()), terminated, truncated, infos


def toy(observations: spaces.Space, actions: spaces.Space) -> gym.Env:
    return Monitor(Toy(actions, observations))


SPACES = {
    "box": (BOX_OBSERVATIONS, BOX_ACTIONS),
    "wide": (spaces.Box(-1.0, 1.0, (4,), dtype=np.float64), BOX_ACTIONS),
    "discrete": (BOX_OBSERVATIONS, spaces.Discrete(5)),
    "pictures": (IMAGES, spaces.Discrete(3)),
    "dict": (DICT_OBSERVATIONS, spaces.MultiBinary(3)),
}


@pytest.fixture(scope="module")
def in_workers():
    """Environments of some spaces in so many workers, kept for all tests."""
    made: dict[tuple[str, int], WorkerVecEnv] = {}

    def get(kind: str, n_workers: int) -> VecEnv:
        if n_workers == 0:
            return DummyVecEnv([partial(toy, *SPACES[kind])] * N_ENVS)
        if (kind, n_workers) not in made:
            made[kind, n_workers] = WorkerVecEnv([partial(toy, *SPACES[kind])] * N_ENVS, n_workers)
        return made[kind, n_workers]

    yield get
    for env in made.values():
        env.close()


class Recording(BaseCallback):
    """What a callback finds at every step."""

    def __init__(self):
        super().__init__()
        self.found: list[Any] = []

    def _on_step(self) -> bool:
        names = ("obs", "actions", "clipped_actions", "new_obs", "rewards", "dones", "infos", "n_steps")
        kept = {name: deepcopy(self.locals[name]) for name in names}
        kept["reset_infos"] = deepcopy(self.training_env.unwrapped.reset_infos)
        tensors = [name for name in ("values", "log_probs") if name in self.locals]
        self.found.append((self.num_timesteps, kept | {name: self.locals[name].numpy().copy() for name in tensors}))
        return True


def run(env: VecEnv, policy: Any = "MlpPolicy", **settings: Any) -> tuple[TRPO, list[Any]]:
    """Two rollouts of 24 steps in four segments each, over ends of episodes."""
    model = TRPO(policy, env, n_steps=24, batch_size=48, seed=4, device="cpu", **settings)
    recording = Recording()
    model.learn(2 * 24 * N_ENVS, callback=recording)
    return model, recording.found


def assert_equal_runs(here: tuple[TRPO, list[Any]], there: tuple[TRPO, list[Any]]) -> None:
    (one, found), (other, also_found) = here, there
    for (steps, a), (also_steps, b) in zip(found, also_found, strict=True):
        assert steps == also_steps and [name for name in a if not equal(a[name], b[name])] == []
    for name in ("observations", "actions", "rewards", "episode_starts", "values", "log_probs", "advantages", "returns"):
        a, b = (getattr(model.rollout_buffer, name) for model in (one, other))
        assert equal(dict(a), dict(b)) if isinstance(a, dict) else equal(np.asarray(a), np.asarray(b)), name
    assert same(parameters(one), parameters(other))
    assert equal(one._last_obs, other._last_obs) and one.num_timesteps == other.num_timesteps
    assert [(e["r"], e["l"]) for e in one.ep_info_buffer] == [(e["r"], e["l"]) for e in other.ep_info_buffer]


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(segmented_path, "STEPS", 7)


@pytest.fixture
def begun(monkeypatch):
    """Numbers of steps of the segments that were run."""
    steps = []
    path = segmented_path.SegmentedPath
    run_one = path._segment

    def noted(self: Any, n_steps: int, *others: Any) -> Any:
        steps.append(n_steps)
        return run_one(self, n_steps, *others)

    monkeypatch.setattr(path, "_segment", noted)
    return steps


@pytest.mark.parametrize(
    ("kind", "n_workers", "policy", "settings"),
    [
        ("box", 1, "MlpPolicy", {}),
        ("box", 2, "MlpPolicy", {}),
        ("box", 3, "MlpPolicy", {}),
        ("box", 3, "MlpPolicy", {"use_sde": True}),
        ("box", 2, "MlpPolicy", {"use_sde": True, "sde_sample_freq": 4, "policy_kwargs": {"squash_output": True}}),
        ("box", 2, "MlpPolicy", {"use_sde": True, "sde_sample_freq": 24}),
        ("discrete", 2, "MlpPolicy", {}),
        ("discrete", 3, "MlpPolicy", {"policy_kwargs": {"activation_fn": th.nn.ELU}}),
        ("pictures", 2, "CnnPolicy", {}),
        ("pictures", 3, "CnnPolicy", {"policy_kwargs": {"share_features_extractor": False}}),
        ("dict", 2, "MultiInputPolicy", {}),
    ],
)
def test_the_same_rollouts(in_workers, short_segments, begun, kind, n_workers, policy, settings):
    runs = [run(in_workers(kind, n), policy, **deepcopy(settings)) for n in (0, n_workers)]
    assert_equal_runs(*runs)
    assert begun == 2 * ([4] * 6 if settings.get("sde_sample_freq") == 4 else [7, 7, 7, 3])


class Drawing(Recording):
    """Draws random numbers of its own at every step."""

    def _on_step(self) -> bool:
        th.rand(3)
        return super()._on_step()


def test_the_same_rollouts_where_a_callback_draws_random_numbers(in_workers, begun):
    runs = []
    for env in (in_workers("box", 0), in_workers("box", 2)):
        recording = Drawing()
        model = TRPO("MlpPolicy", env, n_steps=300, batch_size=300, seed=4, device="cpu")
        runs.append((model.learn(2 * 300 * N_ENVS, callback=recording), recording.found))
    assert_equal_runs(*runs)
    assert begun == 2 * [256, 44]


class Doubled(VecEnvWrapper):
    """A wrapper of a user's own."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = self.venv.step_wait()
        return obs, 2.0 * rewards, dones, infos


class Own(ActorCriticPolicy):
    """A policy that must be called."""

    def forward(self, obs: Any, deterministic: bool = False) -> Any:
        return super().forward(obs, deterministic)


def locked(env: VecEnv) -> VecEnv:
    """With something of a user's own hung on it that cannot be sent."""
    env = VecMonitor(env)
    env.lock = threading.Lock()
    return env


@pytest.mark.filterwarnings("ignore:The environment is already wrapped")
@pytest.mark.parametrize(("policy", "wrapper"), [(Own, None), ("MlpPolicy", Doubled), ("MlpPolicy", locked)])
def test_step_by_step_where_somebody_must_be_asked(in_workers, begun, policy, wrapper):
    envs = [in_workers("box", n) for n in (0, 2)]
    assert_equal_runs(*(run(env if wrapper is None else wrapper(env), policy) for env in envs))
    assert begun == []


def stacked(env: VecEnv, file: str | None) -> VecEnv:
    return VecTransposeImage(VecFrameStack(VecMonitor(env, file, info_keywords=("half",)), 3))


@pytest.mark.filterwarnings("ignore:The environment is already wrapped")
def test_wrappers_with_rows_of_their_own(in_workers, short_segments, begun, tmp_path):
    files = [str(tmp_path / name) for name in ("here", "there")]
    envs = [stacked(in_workers("pictures", n), file) for n, file in zip((0, 2), files, strict=True)]
    assert_equal_runs(*(run(env, "CnnPolicy") for env in envs))
    assert begun
    rows = [[line.rsplit(",", 2)[0] for line in open(file + ".monitor.csv").readlines()[1:]] for file in files]
    assert rows[0] == rows[1] and len(rows[0]) > 10
    monitors = [env.venv.venv for env in envs]
    assert monitors[0].episode_count == monitors[1].episode_count
    assert equal(monitors[0].episode_returns, monitors[1].episode_returns)
    assert equal(envs[0].venv.stacked_obs.stacked_obs, envs[1].venv.stacked_obs.stacked_obs)
    for monitor in monitors:
        monitor.results_writer.close()


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_running_statistics_are_those_of_all_samples(in_workers, short_segments, begun, n_workers):
    """Truth: mean and variance of all samples at once. Neither observations nor rewards depend on actions here."""
    env = VecNormalize(in_workers("wide", n_workers))
    model = TRPO("MlpPolicy", env, n_steps=24, batch_size=48, seed=4, device="cpu").learn(10 * 24 * N_ENVS)
    here = in_workers("wide", 0)
    here.seed(4)
    samples, returns, current = [here.reset()], [], np.zeros(N_ENVS)
    for _ in range(240):
        obs, rewards, dones, _ = here.step(np.zeros((N_ENVS, 3)))
        current = current * env.gamma + rewards
        samples.append(obs)
        returns.append(current)
        current = np.where(dones, 0.0, current)
    for statistics, parts in ((env.obs_rms, samples), (env.ret_rms, returns)):
        all_samples = np.concatenate(parts).astype(np.float64)
        weight = len(all_samples) + 1e-4  # SB3 begins with so much of mean 0 and variance 1
        mean = all_samples.sum(axis=0) / weight
        variance = (((all_samples - mean) ** 2).sum(axis=0) + 1e-4 * (1.0 + mean**2)) / weight
        np.testing.assert_allclose(statistics.mean, mean, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(statistics.var, variance, rtol=1e-12)
        assert statistics.count == pytest.approx(weight, rel=1e-12)
    assert equal(env.returns, current) and equal(env.get_original_obs(), obs) and len(begun) == 40
    assert model._last_obs.shape == obs.shape


class Stopping(BaseCallback):
    def _on_step(self) -> bool:
        return self.n_calls < 10


def test_a_callback_may_stop_it(in_workers, short_segments):
    """In the middle of a segment: the environments are ahead, and go on from where they are."""
    env = in_workers("box", 2)
    model = TRPO("MlpPolicy", env, n_steps=24, batch_size=48, seed=4, device="cpu")
    model.learn(1000, callback=Stopping())
    assert model.num_timesteps == 10 * N_ENVS
    assert equal(model._last_obs, env._observations())
    model.learn(24 * N_ENVS, reset_num_timesteps=False)
    assert equal(model._last_obs, env._observations()) and model.num_timesteps == 34 * N_ENVS


def test_a_vine_branches_from_environments_in_workers(in_workers, short_segments, begun):
    """States are saved in the workers, on the way and where segments begin."""
    vine: Callable = partial(run, sampling="vine", vine_kwargs={"n_states": 12, "branches_per_state": 2, "branch_length": 3})
    runs = [vine(in_workers("box", n)) for n in (0, 2)]
    assert_equal_runs(*runs)
    assert th.equal(runs[0][0]._experience.q_values, runs[1][0]._experience.q_values)
    assert begun == 2 * [7, 7, 7, 3]


def test_infos_are_the_same_after_the_journey():
    steps = [
        [{"a": np.float64(1.5), "b": 2, "c": "text"}, {"a": np.float64(2.5), "b": 2.0, "c": None}],
        [{}, {"a": np.float32(1.0), "b": 2, "c": [1]}],
        [{"b": 2, "a": np.int8(3)}, {"a": np.float64(1.5), "b": np.zeros(2), "c": {"d": 1}}],
    ]
    found = unpack(pack(steps))
    assert equal(found, steps) and [list(info) for info in found[2]] == [["b", "a"], ["a", "b", "c"]]
    counting = unpack(pack([[{"a": 1}, defaultdict(int, a=2)], [defaultdict(int), {"a": 4}]]))
    assert equal(counting, [[{"a": 1}, {"a": 2}], [{}, {"a": 4}]]) and counting[1][0]["crashes"] == 0
