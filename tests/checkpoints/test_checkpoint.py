"""What may be in the way of a checkpoint, or of going on from one: each is said in words."""

import resource
import shutil
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.checkpoints import ExactCheckpoint, resume, settings
from sb3_trpo.checkpoints.callback_states import named
from sb3_trpo.checkpoints.store import Store
from tests.resumable_runs import Leave, Left, outcome, train
from tests.toys import parameters, same

SETTINGS: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


class Centred(FlattenExtractor):
    """Observations minus a mean."""

    def __init__(self, observation_space: gym.Space, mean: np.ndarray):
        super().__init__(observation_space)
        self.register_buffer("mean", th.as_tensor(mean, dtype=th.float32))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return super().forward(observations) - self.mean


def _env(n_envs: int = 1) -> Any:
    return make_vec_env("CartPole-v1", n_envs=n_envs, seed=0)


def _saved(folder: Path, *callbacks: BaseCallback, steps: int = 96, **options: Any) -> TRPO:
    model = TRPO("MlpPolicy", _env(), **SETTINGS)
    return model.learn(steps, [ExactCheckpoint(folder, every_steps=32, **options), *callbacks])


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({}, ValueError),
        ({"every_steps": 10, "every_minutes": 1.0}, ValueError),
        ({"every_steps": 0}, ValueError),
        ({"every_steps": 1.5}, TypeError),
        ({"every_minutes": 0.0}, ValueError),
        ({"every_minutes": "1"}, TypeError),
        ({"every_steps": 10, "keep": 0}, ValueError),
        ({"every_steps": 10, "inexact": "maybe"}, ValueError),
    ],
)
def test_mistakes_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"give|Give"):
        ExactCheckpoint("nowhere", **arguments)


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path: Path) -> None:
    _saved(tmp_path)
    (tmp_path / "000000000064" / "run.pt").write_bytes(b"nonsense")
    with pytest.warns(UserWarning, match="000000000064.*run.pt is not as it was written"):
        model = TRPO.resume(tmp_path, _env(), device="cpu")
    assert model.num_timesteps == 32
    model.learn(96, ExactCheckpoint(tmp_path, every_steps=10**6))  # which takes away what was passed over
    assert [path.name for path in tmp_path.iterdir()] == ["000000000032"]
    (tmp_path / "000000000032" / "model.zip").unlink()
    with pytest.warns(UserWarning, match="000000000032"), pytest.raises(ValueError, match=r"no checkpoint in .* not damaged"):
        TRPO.resume(tmp_path, _env(), device="cpu")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint in .*nothing"):
        TRPO.resume(tmp_path / "nothing", _env(), device="cpu")


def test_a_full_disk_costs_the_checkpoint(tmp_path: Path) -> None:
    """A limit of the size of files strikes in the middle of writing: training goes on, what was there stays."""
    folder = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Fill(BaseCallback):
        def _on_step(self) -> bool:
            if self.n_calls == 40:
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
            return True

    try:
        with pytest.warns(RuntimeWarning, match="No checkpoint of step 64 .*File too large.*Training goes on"):
            model = _saved(folder, Fill())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert model.num_timesteps == 96
    assert [path.name for path in folder.iterdir()] == ["000000000032"]
    assert TRPO.resume(folder, _env(), device="cpu").num_timesteps == 32


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot be written to .*name another folder"):
        _saved(tmp_path / "file" / "run")


def test_another_runs_folder_is_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoints of another run.*TRPO\.resume"):
        _saved(tmp_path)


def test_one_model_goes_on_in_its_folder(tmp_path: Path) -> None:
    model = _saved(tmp_path, steps=64)
    model.learn(64, ExactCheckpoint(tmp_path, every_steps=32), reset_num_timesteps=False)
    assert [path.name for path in Store(tmp_path).paths()] == ["000000000096", "000000000032"]
    resumed = TRPO.resume(tmp_path, _env(), device="cpu")
    resumed.learn(64, reset_num_timesteps=False)  # as the call that was interrupted
    assert (resumed.num_timesteps, resumed._num_timesteps_at_start) == (128, 64)


@pytest.mark.parametrize("name, value", [("learning_rate", 1e-4), ("n_steps", 64), ("vine_kwargs", {}), ("target_kl", 0.02)])
def test_another_setting_is_refused_by_name_unless_asked_for(name: str, value: Any, tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.raises(ValueError, match=f"{name}=.*changes="):
        TRPO.resume(tmp_path, _env(), **{**SETTINGS, name: value})
    model = TRPO.resume(tmp_path, _env(), device="cpu", changes={name: value})
    assert getattr(model, name) == value
    assert TRPO.resume(tmp_path, _env(), **SETTINGS).num_timesteps == 64


def test_schedules_are_compared_by_their_values(tmp_path: Path) -> None:
    TRPO("MlpPolicy", _env(), learning_rate=lambda left: 1e-3 * left, **SETTINGS).learn(64, ExactCheckpoint(tmp_path, 32))
    TRPO.resume(tmp_path, _env(), device="cpu", learning_rate=lambda left: left * 1e-3)
    with pytest.raises(ValueError, match="learning_rate"):
        TRPO.resume(tmp_path, _env(), device="cpu", learning_rate=lambda left: 1e-3)


def test_settings_are_compared_by_what_is_in_them(tmp_path: Path) -> None:
    """A tuple that a file has made a list, an array, SB3's own choice of a buffer; and networks are not changed on the way."""
    kwargs: dict[str, Any] = {"net_arch": (8,), "features_extractor_class": Centred}
    settings = {**SETTINGS, "policy_kwargs": {**kwargs, "features_extractor_kwargs": {"mean": np.zeros(4)}}}
    TRPO("MlpPolicy", _env(), **settings).learn(64, ExactCheckpoint(tmp_path, 32))
    model = TRPO.resume(tmp_path, _env(), **settings, rollout_buffer_class=None, _init_setup_model=True)
    assert model.learn(96).num_timesteps == 96
    settings["policy_kwargs"] = {**kwargs, "features_extractor_kwargs": {"mean": np.ones(4)}}
    with pytest.raises(ValueError, match=r"policy_kwargs=.*leave it out"):
        TRPO.resume(tmp_path, _env(), **settings)


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.raises(TypeError, match="no setting clip_range"):
        TRPO.resume(tmp_path, _env(), device="cpu", clip_range=0.2)


def test_other_environments_are_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.raises(ValueError, match="n_envs=1, and is to go on with 2"):
        TRPO.resume(tmp_path, _env(2), device="cpu")
    with pytest.raises(ValueError, match="wrappers"):
        TRPO.resume(tmp_path, VecNormalize(_env()), device="cpu")
    with pytest.raises(ValueError, match=r"TimeLimit.* cannot be restored in"):
        TRPO.resume(tmp_path, gym.make("CartPole-v1").unwrapped, device="cpu")


def test_more_environments_when_asked_for(tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.warns(UserWarning, match="begin anew"):
        model = TRPO.resume(tmp_path, _env(2), device="cpu", inexact="restart", changes={"n_envs": 2})
    model.learn(128)
    assert model.num_timesteps == 128 and model.n_envs == 2


def test_other_wrappers_when_asked_for(tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.warns(UserWarning, match="begin anew"):
        model = TRPO.resume(
            tmp_path, VecNormalize(_env()), device="cpu", inexact="restart", changes={"wrappers": "statistics"}
        )
    assert model.learn(96).num_timesteps == 96


def test_other_versions_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_packages", lambda: {"torch": "1.0"})
    _saved(tmp_path)
    monkeypatch.setattr(settings, "_packages", lambda: {"torch": "9.9"})
    with pytest.warns(UserWarning, match=r"saved with torch 1.0 \(now 9.9\)"):
        TRPO.resume(tmp_path, _env(), device="cpu")


class Stubborn(gym.Wrapper):
    """Holds something that no copy can have."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.held = (number for number in range(10**9))


def _stubborn() -> Any:
    return make_vec_env("CartPole-v1", wrapper_class=Stubborn, seed=0)


def test_environments_that_cannot_be_copied(tmp_path: Path) -> None:
    """Refused by name before training; or everything else is saved, and the log says that episodes began anew."""
    with pytest.raises(ValueError, match=r'Stubborn.*held.*inexact="restart"'):
        TRPO("MlpPolicy", _stubborn(), **SETTINGS).learn(96, ExactCheckpoint(tmp_path, 32))
    with pytest.warns(UserWarning, match=r"Stubborn.*begins new episodes"):
        TRPO("MlpPolicy", _stubborn(), **SETTINGS).learn(96, ExactCheckpoint(tmp_path, 32, inexact="restart"))
    with pytest.raises(ValueError, match=r'without environments.*inexact="restart"'):
        TRPO.resume(tmp_path, _stubborn(), device="cpu")
    first = []
    for _ in range(2):
        with pytest.warns(UserWarning, match="begin anew"):
            model = TRPO.resume(tmp_path, _stubborn(), device="cpu", inexact="restart")
        first.append(model._last_obs)
    assert np.array_equal(*first)  # new episodes, the same ones in every attempt…
    assert not np.array_equal(first[0], TRPO("MlpPolicy", _stubborn(), **SETTINGS).learn(0)._last_obs)  # …not the first ones
    seen = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            seen.append(self.logger.name_to_value.get("rollout/restarted_episodes"))
            return True

    model.learn(96, Watch())
    assert seen[0] == 1 and model.num_timesteps == 96


class Counting(BaseCallback):
    """Offers what it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {"count": 0}

    def _on_step(self) -> bool:
        self.seen["count"] += 1
        return True

    def state_dict(self) -> dict[str, Any]:
        return {**self.seen, "itself": Counting}  # not plain: it is pickled

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = {"count": state["count"]}


class Silent(Counting):
    state_dict = None  # type: ignore[assignment]


def test_a_callback_that_offers_its_state_goes_on(tmp_path: Path) -> None:
    _saved(tmp_path, Counting())
    counting = Counting()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TRPO.resume(tmp_path, _env(), device="cpu").learn(96, [ExactCheckpoint(tmp_path, 32), counting])
    assert counting.seen == {"count": 96}


def test_a_callback_that_does_not_is_named(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"Silent keeps in seen.*state_dict"):
        _saved(tmp_path, Silent())
    with pytest.warns(UserWarning, match="not those of the checkpoint: .*Counting.*Silent"):
        TRPO.resume(tmp_path, _env(), device="cpu").learn(96, Counting())


class Gravity(BaseCallback):
    """Changes the environments at the start of each rollout, with random numbers, and counts."""

    count = 0

    def _on_rollout_start(self) -> None:
        self.count += 1
        self.training_env.env_method("set_wrapper_attr", "gravity", float(np.random.uniform(5.0, 15.0)))

    def _on_step(self) -> bool:
        return self.model.num_timesteps < self.until if hasattr(self, "until") else True

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_callbacks_before_and_after_the_one_that_saves_go_on(first: bool, nested: bool, tmp_path: Path) -> None:
    def learn(model: TRPO, name: str, until: int | None = None) -> tuple[Any, int]:
        gravity = Gravity()
        if until is not None:
            gravity.until = until  # type: ignore[attr-defined]
        callbacks = [gravity, ExactCheckpoint(tmp_path / name, every_steps=64)]
        callbacks = callbacks if first else callbacks[::-1]
        model.learn(300, CallbackList(callbacks) if nested else callbacks)  # type: ignore[arg-type]
        return parameters(model), gravity.count

    expected, count = learn(TRPO("MlpPolicy", _env(), **SETTINGS), "whole")
    learn(TRPO("MlpPolicy", _env(), **SETTINGS), "parts", until=200)
    found, counted = learn(TRPO.resume(tmp_path / "parts", _env(), device="cpu"), "parts")
    assert counted == count == 10 and same(found, expected)


def test_callbacks_that_know_each_other(tmp_path: Path) -> None:
    counting, other = Counting(), Counting()
    counting.other, other.other = other, counting  # type: ignore[attr-defined]
    _saved(tmp_path, counting)
    assert len(named(CallbackList([counting]))) == 2


def test_another_call_of_learn_that_counts_anew_is_refused(tmp_path: Path) -> None:
    model = _saved(tmp_path)
    with pytest.raises(ValueError, match=r"earlier call of learn \(000000000064\).*reset_num_timesteps=False"):
        model.learn(96, ExactCheckpoint(tmp_path, every_steps=32))
    assert [path.name for path in Store(tmp_path).paths()] == ["000000000064", "000000000032"]


def test_another_runs_checkpoints_that_come_meanwhile_are_told_and_left_alone(tmp_path: Path) -> None:
    class Other(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps == 40:
                Store(tmp_path).write(10_000, {}, {"run": "another"})
            return True

    with pytest.warns(RuntimeWarning, match=r"Another run saves .*\(000000010000\)"):
        _saved(tmp_path, Other(), steps=160, keep=1)
    assert [path.name for path in Store(tmp_path).paths()] == ["000000010000", "000000000128"]


def test_the_algorithm_is_that_of_the_run(tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.raises(ValueError, match="one of TRPO, not of PPO"):
        resume(PPO, tmp_path, _env())


def test_settings_as_they_were_given_are_the_same(tmp_path: Path) -> None:
    """What is kept under another name or in another form, and what has no bearing on the run."""
    given = {"stats_window_size": 50, "policy_kwargs": None, "rollout_buffer_kwargs": None}
    TRPO("MlpPolicy", _env(), **SETTINGS, **given).learn(64, ExactCheckpoint(tmp_path, 32))
    assert TRPO.resume(tmp_path, _env(), **SETTINGS, **given, verbose=1)._stats_window_size == 50
    with pytest.raises(ValueError, match=r"stats_window_size=50.* go on with 60"):
        TRPO.resume(tmp_path, _env(), stats_window_size=60)
    with pytest.raises(ValueError, match="leave it out of changes"):
        TRPO.resume(tmp_path, _env(), changes={"stats_window_size": 60})


def test_ppo_refuses_other_settings_too(tmp_path: Path) -> None:
    PPO("MlpPolicy", _env(), **SETTINGS).learn(96, ExactCheckpoint(tmp_path, 32))
    with pytest.raises(ValueError, match="clip_range"):
        resume(PPO, tmp_path, _env(), clip_range=0.3)
    model = resume(PPO, tmp_path, _env(), **SETTINGS, clip_range=0.2)
    assert type(model).__name__ == "PPO" and isinstance(model, PPO)
    model.save(tmp_path / "model")
    PPO.load(tmp_path / "model", device="cpu")


def test_tensorboard_goes_on_without_a_gap_or_a_double(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def learn(folder: Path, rollouts: int) -> None:
        model = TRPO("MlpPolicy", _env(), tensorboard_log=str(folder / "log"), **SETTINGS)
        model.learn(32 * rollouts, ExactCheckpoint(folder / "checkpoints", every_steps=64, keep=5))

    def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
        accumulator = event_accumulator.EventAccumulator(str(folder / "log" / "TRPO_1"))
        accumulator.Reload()
        names = [name for name in accumulator.Tags()["scalars"] if name != "time/fps"]
        return {name: [(event.step, event.value) for event in accumulator.Scalars(name)] for name in names}

    learn(tmp_path / "whole", 6)
    learn(tmp_path / "left", 6)
    shutil.rmtree(tmp_path / "left" / "checkpoints" / "000000000128")  # it had come further than its last checkpoint
    TRPO.resume(tmp_path / "left" / "checkpoints", _env(), device="cpu").learn(192)
    assert events(tmp_path / "left") == events(tmp_path / "whole")
    assert len(list((tmp_path / "left" / "log").iterdir())) == 1


def test_tables_go_on_too(tmp_path: Path) -> None:
    """A table that had more rows and more columns when the run was killed."""
    from stable_baselines3.common.logger import configure

    from sb3_trpo.checkpoints.logs import outputs_of, reopened

    def write(logger: Any, steps: range) -> None:
        for step in steps:
            for name in ("a", "b", "c")[: 1 + step]:
                logger.record(name, f"{name}, {step}")
            logger.dump(step)

    whole = configure(str(tmp_path / "whole"), ["csv", "json", "log"])
    write(whole, range(4))
    logger = configure(str(tmp_path / "left"), ["csv", "json", "log"])
    write(logger, range(2))
    saved = outputs_of(logger)
    write(logger, range(2, 4))
    logger.close()
    write(reopened(saved, 1), range(2, 4))
    for name in ("progress.csv", "progress.json", "log.txt"):
        left, expected = ((tmp_path / folder / name).read_text().splitlines() for folder in ("left", "whole"))
        assert left[1:] == expected[1:] and len(left) > 3  # a text's first line names its folder
    (tmp_path / "left" / "progress.csv").unlink()
    write(reopened(saved, 1), range(2, 4))
    assert sorted((tmp_path / "left" / "progress.csv").read_text().splitlines()[0].split(",")) == ["a", "b", "c"]


def test_checkpoints_change_nothing(tmp_path: Path) -> None:
    """A run that saves in every rollout ends as one that never does."""
    often = outcome(train("hopper", tmp_path / "often"), tmp_path / "often")
    never = outcome(train("hopper", tmp_path / "never", every_steps=10**9), tmp_path / "never")
    assert often == never
    assert not Store(tmp_path / "never" / "checkpoints").paths()


def test_when_it_saves_does_not_matter_where_copying_leaves_a_trace(tmp_path: Path) -> None:
    """ALE's own sticky actions: the last action is forgotten when a state is saved, and here in every rollout."""
    import ale_py

    gym.register_envs(ale_py)
    found = []
    for every in (1, 10**9):
        env = make_vec_env("ALE/Pong-v5", n_envs=2, seed=0, env_kwargs={"obs_type": "ram", "repeat_action_probability": 0.9})
        model = TRPO("MlpPolicy", env, **SETTINGS)
        model.learn(512, ExactCheckpoint(tmp_path / str(every), every_steps=every))
        found.append(parameters(model))
    assert same(*found)


def test_environments_may_be_used_before_learning_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Left):
        train("cartpole", tmp_path, 2)
    found = []
    for steps in (0, 10):
        model = TRPO.resume(tmp_path / "checkpoints", _env(2), device="cpu")
        for _ in range(steps):
            model.env.step(np.zeros(2, dtype=int))
        found.append(parameters(model.learn(512)))
    assert same(*found)


def test_other_algorithms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="on-policy algorithms, and DQN is none"):
        DQN("MlpPolicy", "CartPole-v1", device="cpu").learn(10, ExactCheckpoint(tmp_path, 32))


def test_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 50))
    monkeypatch.setattr("sb3_trpo.checkpoints.checkpoint.time.monotonic", lambda: next(clock))
    model = TRPO("MlpPolicy", _env(), **SETTINGS)
    model.learn(128, ExactCheckpoint(tmp_path, every_minutes=1.5, keep=9))
    assert [path.name for path in Store(tmp_path).paths()] == ["000000000096", "000000000032"]


def test_an_exception_leaves_a_model_that_learns_from_its_beginning(tmp_path: Path) -> None:
    with pytest.raises(Left):
        train("cartpole", tmp_path, 2)
    model = TRPO.resume(tmp_path / "checkpoints", _env(2), device="cpu")

    def fail(*_: Any) -> bool:
        raise Left

    with pytest.raises(Left):
        model.learn(1_000, fail)
    model.learn(128)
    assert model.num_timesteps == 128


@pytest.mark.parametrize("around", ["EveryNTimesteps", "EvalCallback"])
def test_a_place_that_is_not_told_of_rollouts_is_refused(around: str, tmp_path: Path) -> None:
    checkpoint = ExactCheckpoint(tmp_path, 32)
    inside = {
        "EveryNTimesteps": lambda: EveryNTimesteps(32, checkpoint),
        "EvalCallback": lambda: EvalCallback(_env(), callback_after_eval=checkpoint),
    }[around]()
    with pytest.raises(ValueError, match=f"inside {around}.*in a list"):
        TRPO("MlpPolicy", _env(), **SETTINGS).learn(64, [inside])


def test_a_copied_run_leaves_the_log_of_the_other_alone(tmp_path: Path) -> None:
    """Log and checkpoints in one folder: the copy has its own."""
    model = TRPO("MlpPolicy", _env(), **SETTINGS)
    model.set_logger(configure(str(tmp_path / "a"), ["csv", "json"]))
    with pytest.raises(Left):
        model.learn(800, [ExactCheckpoint(tmp_path / "a" / "checkpoints", 32), Leave(3)])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    TRPO.resume(tmp_path / "a" / "checkpoints", _env()).learn(800)
    before = [(tmp_path / "a" / name).read_text() for name in ("progress.csv", "progress.json")]
    TRPO.resume(tmp_path / "b" / "checkpoints", _env(), changes={"target_kl": 0.05}).learn(800)
    assert [(tmp_path / "a" / name).read_text() for name in ("progress.csv", "progress.json")] == before
    rows = [(tmp_path / name / "progress.csv").read_text().splitlines() for name in ("a", "b")]
    assert len(rows[0]) == len(rows[1]) and rows[0][:2] == rows[1][:2] and rows[0] != rows[1]


def test_rollouts_are_counted_from_the_beginning_of_every_learn(tmp_path: Path) -> None:
    checkpoint = ExactCheckpoint(tmp_path, 32)
    model = TRPO("MlpPolicy", _env(), **SETTINGS).learn(96, checkpoint)
    assert checkpoint.iterations == 96 // model.rollout_buffer.buffer_size
    model.learn(64, checkpoint, reset_num_timesteps=False)
    assert checkpoint.iterations == 64 // model.rollout_buffer.buffer_size
