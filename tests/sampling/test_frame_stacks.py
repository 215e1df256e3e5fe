"""A rollout whose frames are kept once is, bit for bit, the one that SB3's buffer keeps."""

import io
import weakref
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecTransposeImage

from sb3_trpo import TRPO
from sb3_trpo.policy import select
from sb3_trpo.sampling import FrameStackBuffer, Samples, find_defect
from sb3_trpo.sampling.frame_stacks import FrameTensors
from tests.toys import DICT_OBSERVATIONS, ToyEnv, parameters, same


class Pictures(gym.Env):
    """Random pictures; an episode ends or is cut after a random number of steps, in every environment at its own times."""

    action_space = spaces.Discrete(3)

    def __init__(self, channels: int = 1):
        self.observation_space = spaces.Box(0, 255, (12, 14, channels), dtype=np.uint8)

    def _observe(self) -> np.ndarray:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        end = self.np_random.random()
        return self._observe(), float(action == 1), end < 0.1, 0.1 <= end < 0.2, {}


def stacked(n_envs: int = 3, channels: int = 1) -> VecEnv:
    return VecFrameStack(make_vec_env(lambda: Pictures(channels), n_envs, seed=0), 4)


SETTINGS = {"n_steps": 32, "batch_size": 96, "seed": 0, "device": "cpu", "n_critic_updates": 2}
SETTINGS["policy_kwargs"] = {"net_arch": [8], "normalize_images": True}


@pytest.mark.parametrize("share", [True, False], ids=["stepwise", "deferred"])
@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_training_is_the_same(channels: int, share: bool) -> None:
    """Two rollouts and updates with SB3's buffer and with ours: equal observations and equal parameters."""
    policy_kwargs = {**SETTINGS["policy_kwargs"], "share_features_extractor": share}
    settings = {**SETTINGS, "policy_kwargs": policy_kwargs, "fisher_sample_fraction": 0.5}
    runs = [
        TRPO("MlpPolicy", stacked(3, channels), **settings, rollout_buffer_class=buffer, rollout_buffer_kwargs=kwargs).learn(
            192
        )
        for buffer, kwargs in ((RolloutBuffer, {}), (FrameStackBuffer, {"n_stack": 4}))
    ]
    theirs, ours = (run.rollout_buffer.observations for run in runs)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype and len(ours) == len(theirs)
    assert np.array_equal(np.asarray(ours), theirs)
    assert np.array_equal(ours[3:7], theirs[3:7]) and np.array_equal(ours[[2, 5], [0, 1]], theirs[[2, 5], [0, 1]])
    assert same(parameters(runs[0]), parameters(runs[1]))


def test_every_frame_is_kept_once() -> None:
    """96 steps of three environments: a frame a step, and the four of a stack where a rollout or an episode begins."""
    model = TRPO("MlpPolicy", stacked(), **SETTINGS).learn(96)
    buffer = model.rollout_buffer
    assert type(buffer) is FrameStackBuffer
    beginnings = 3 + int(buffer.episode_starts[1:].sum())
    assert beginnings > 6
    assert buffer.observations.n_frames == 96 + 3 * beginnings


def test_it_does_what_an_array_does() -> None:
    """Operators, methods and NumPy's functions give what they give for the whole array; nothing can be written to a copy."""
    model = TRPO("MlpPolicy", stacked(), **SETTINGS).learn(96)
    stacks = model.rollout_buffer.observations
    array = np.array(stacks)
    assert array.shape == stacks.shape == (32, 3, 4, 12, 14) and stacks.ndim == 5
    assert np.array_equal(stacks / 255, array / 255) and np.array_equal(stacks.astype(float), array)
    assert np.array_equal(stacks[3, 1, -1], array[3, 1, -1]) and np.array_equal(stacks[..., 0], array[..., 0])
    assert np.array_equal(stacks[:, 1, :, 5, 5], array[:, 1, :, 5, 5]) and np.array_equal(stacks[[1, 2], 0], array[[1, 2], 0])
    assert np.array_equal(stacks[stacks > 100], array[array > 100])
    some = np.arange(32) % 3 == 0
    assert np.array_equal(stacks[some], array[some]) and np.array_equal(stacks[some, 1], array[some, 1])
    assert stacks.mean() == array.mean() == np.mean(stacks)
    assert th.equal(th.as_tensor(stacks), th.as_tensor(array)) and th.as_tensor(stacks).dtype == th.uint8
    with pytest.raises(ValueError, match="read-only"):
        stacks.fill(0)
    with pytest.raises(AttributeError, match="colour"):
        _ = stacks.colour


WRITES: dict[str, Callable[[np.ndarray], object]] = {
    "the first step": lambda stacks: stacks.__setitem__(0, np.zeros_like(stacks[0])),
    "every step in turn": lambda stacks: [stacks.__setitem__(step, 255 - stacks[step]) for step in range(len(stacks))],
    "everything": lambda stacks: stacks.__setitem__(slice(None), 255 - stacks[:]),
    "one environment": lambda stacks: stacks.__setitem__((slice(None), 1), 7),
    "one stack": lambda stacks: stacks.__setitem__((5, 2), stacks[6, 0]),
    "pixels": lambda stacks: stacks.__setitem__((..., slice(3), 4), 9),
    "in place": lambda stacks: stacks.__iadd__(1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_is_what_is_read(write: Callable[[np.ndarray], object]) -> None:
    """A callback's writes change what they would change in an array, and nothing of the next rollout."""
    model = TRPO("MlpPolicy", stacked(), **SETTINGS).learn(96)
    stacks = model.rollout_buffer.observations
    array = np.array(stacks)
    write(array)
    write(stacks)
    assert np.array_equal(stacks, array)
    others = TRPO("MlpPolicy", stacked(), **SETTINGS, rollout_buffer_class=RolloutBuffer).learn(96)
    for run in (model, others):
        run.learn(96)
    assert np.array_equal(model.rollout_buffer.observations, others.rollout_buffer.observations)
    next(model.rollout_buffer.get(10))
    with pytest.raises(ValueError, match="read-only"):
        model.rollout_buffer.observations[0] = 0


def test_ppo_learns_the_same_from_it() -> None:
    """SB3's minibatches, drawn from a flattened buffer: equal parameters."""
    settings = {"n_steps": 32, "batch_size": 24, "n_epochs": 2, "seed": 0, "device": "cpu"}
    runs = [
        PPO("MlpPolicy", stacked(), rollout_buffer_class=buffer, **settings).learn(2 * 96)
        for buffer in (RolloutBuffer, FrameStackBuffer)
    ]
    assert same(*map(parameters, runs))


@pytest.mark.parametrize("read_from", [False, True])
def test_samples_are_those_of_a_stock_buffer(read_from: bool) -> None:
    """In the order of the scalars beside them, whether or not SB3's ``get`` has flattened the buffer."""
    model = TRPO("MlpPolicy", stacked(), **SETTINGS).learn(96)
    buffer = model.rollout_buffer
    buffer.values[:] = np.asarray(buffer.observations).reshape(32, 3, -1).astype(np.float32).sum(axis=2)
    buffer.returns = buffer.values.copy()
    if read_from:
        next(buffer.get(10))
    samples = Samples.from_buffer(buffer)
    rows = th.randperm(96)
    chosen = select(samples.observations, rows)
    assert th.equal(chosen.flatten(1).float().sum(dim=1), samples.returns[rows])
    assert th.equal(select(samples.observations, slice(5, 9))[1], select(samples.observations, th.tensor([6]))[0])


CHOSEN: dict[str, tuple[Callable[[], VecEnv], type[RolloutBuffer]]] = {
    "grey frames": (stacked, FrameStackBuffer),
    "behind another wrapper": (lambda: VecTransposeImage(stacked()), FrameStackBuffer),
    "colour": (lambda: stacked(channels=3), RolloutBuffer),
    "one frame": (lambda: make_vec_env(Pictures, 3, seed=0), RolloutBuffer),
    "vectors": (lambda: VecFrameStack(make_vec_env("CartPole-v1", 3), 4), RolloutBuffer),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_it_is_chosen_for_grey_frames_that_sb3_stacks(case: str) -> None:
    make, expected = CHOSEN[case]
    assert type(TRPO("MlpPolicy", make(), **SETTINGS).rollout_buffer) is expected


def test_files_do_not_depend_on_the_choice() -> None:
    """What was chosen and not asked for is not saved: sb3-contrib's TRPO loads the file, with or without this package."""
    file = io.BytesIO()
    TRPO("MlpPolicy", stacked(), **SETTINGS).save(file)
    data = load_from_zip_file(file)[0]
    assert data is not None and "sb3_trpo" not in str(data.get("rollout_buffer_class"))
    assert type(sb3_contrib.TRPO.load(file, env=stacked()).rollout_buffer) is RolloutBuffer
    assert type(TRPO.load(file, env=stacked(n_envs=2)).rollout_buffer) is FrameStackBuffer
    assert type(TRPO.load(file).rollout_buffer) is RolloutBuffer

    file = io.BytesIO()
    asked_for = {"rollout_buffer_class": FrameStackBuffer, "rollout_buffer_kwargs": {"n_stack": 2}}
    TRPO("MlpPolicy", stacked(), **SETTINGS, **asked_for).save(file)
    assert TRPO.load(file).rollout_buffer.observations.places.shape == (32, 3, 2)


@pytest.mark.parametrize("read_from", [False, True])
def test_a_frame_of_floats_that_is_not_finite_is_found(read_from: bool) -> None:
    """The first stack that has it, by step and environment, as in SB3's buffer."""
    buffer = FrameStackBuffer(5, spaces.Box(-1.0, 1.0, (4, 2, 3)), spaces.Discrete(2), device="cpu", n_envs=2)
    for step in range(5):
        stacks = np.full((2, 4, 2, 3), np.arange(step, step + 4)[:, None, None], dtype=np.float32)
        stacks[1][stacks[1] == 5.0] = np.nan
        buffer.add(stacks, np.zeros(2), np.zeros(2), np.zeros(2), th.zeros(2), th.zeros(2))
    if read_from:
        next(buffer.get())
    assert str(find_defect(buffer)) == "observations is nan at step 2 of the rollout in environment 1"


def test_other_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="stacks of 4 frames"):
        TRPO("MlpPolicy", "CartPole-v1", rollout_buffer_class=FrameStackBuffer, rollout_buffer_kwargs={"n_stack": 4})
    with pytest.raises(ValueError, match="n_stack"):
        TRPO("MlpPolicy", stacked(), **SETTINGS, rollout_buffer_class=FrameStackBuffer, rollout_buffer_kwargs={"n_stack": 3})
    with pytest.raises(ValueError, match="stacks of grey frames"):
        TRPO("MultiInputPolicy", ToyEnv(observation_space=DICT_OBSERVATIONS), rollout_buffer_class=FrameStackBuffer)


def test_an_update_rebuilds_few_stacks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chunks or minibatches of eight at most, of 96: all of them together are what is not to be held in memory."""
    made: list[weakref.ref[th.Tensor]] = []
    most = 0
    rebuild = FrameTensors.__getitem__

    def counted(self: FrameTensors, rows: slice | th.Tensor) -> th.Tensor:
        nonlocal most
        made.append(weakref.ref(tensor := rebuild(self, rows)))
        most = max(most, sum(len(kept) for kept in (reference() for reference in made) if kept is not None))
        return tensor

    monkeypatch.setattr(FrameTensors, "__getitem__", counted)
    monkeypatch.setattr("sb3_trpo.policy.actor.CHUNK_ACTIVATIONS", 1)
    policy_kwargs = {"net_arch": [8], "share_features_extractor": False}
    model = TRPO("MlpPolicy", stacked(), **{**SETTINGS, "batch_size": 8, "policy_kwargs": policy_kwargs})
    model.learn(96)
    assert model.last_update["train/status"] == "ok"
    assert 8 <= most <= 16
