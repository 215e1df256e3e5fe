"""The state of a whole VecEnv, for another one that is built the same way."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecMonitor, VecNormalize

from sb3_trpo.simulators import CloneableEnv
from sb3_trpo.vec_env import clone_vec_env, restore_vec_env

IN_PROCESSES: dict[str, Any] = {
    "vec_env_cls": SubprocVecEnv,
    "vec_env_kwargs": {"start_method": "fork"},
    "wrapper_class": CloneableEnv,
}


def _steps(env: VecEnv, count: int = 60) -> list[Any]:
    """What an environment gives for actions that are always the same."""
    rng = np.random.default_rng(0)
    actions = [np.array([rng.uniform(-1.0, 1.0, env.action_space.shape) for _ in range(env.num_envs)]) for _ in range(count)]
    return [[part.tolist() for part in env.step(action)[:3]] for action in actions]


@pytest.mark.parametrize("options", [{}, IN_PROCESSES], ids=["here", "in processes"])
def test_another_one_goes_on_the_same_way(options: dict[str, Any]) -> None:
    """Models that were edited from outside included."""
    one, other = (make_vec_env("Hopper-v5", n_envs=2, seed=seed, **options) for seed in (0, 1))
    one.reset()
    other.reset()
    if not options:
        one.env_method("get_wrapper_attr", "model", indices=[1])[0].body_mass[1] *= 1.5
    _steps(one)
    state = pickle.loads(pickle.dumps(clone_vec_env(one)))
    restore_vec_env(other, state)
    assert _steps(one) == _steps(other)
    restore_vec_env(other, state)  # again: restoring has left the state as it was
    assert clone_vec_env(other).innermost == state.innermost
    for env in (one, other):
        env.close()


def test_seeds_that_are_pending() -> None:
    """An environment for evaluations that has not been reset yet."""
    one, other = (make_vec_env("Hopper-v5", n_envs=2, seed=seed) for seed in (0, 1))
    restore_vec_env(other, pickle.loads(pickle.dumps(clone_vec_env(one))))
    assert np.array_equal(one.reset(), other.reset())


def test_what_wrappers_keep() -> None:
    one, other = (VecNormalize(VecMonitor(make_vec_env("Pendulum-v1", n_envs=2, seed=seed))) for seed in (0, 1))
    for env in (one, other):
        env.reset()
    _steps(one, 250)
    restore_vec_env(other, pickle.loads(pickle.dumps(clone_vec_env(one))))
    assert np.array_equal(other.get_original_obs(), one.get_original_obs())
    assert np.array_equal(other.get_original_reward(), one.get_original_reward())
    assert np.array_equal(other.returns, one.returns)
    assert other.venv.episode_count == one.venv.episode_count == 2


def test_another_number_is_refused() -> None:
    one, other = (make_vec_env("Pendulum-v1", n_envs=count) for count in (2, 3))
    with pytest.raises(ValueError, match="that of 2 environments, not of 3"):
        restore_vec_env(other, clone_vec_env(one))


def test_a_table_of_episodes_has_none_twice(tmp_path: Path) -> None:
    env = make_vec_env("Pendulum-v1", n_envs=1, seed=0, monitor_dir=str(tmp_path))
    env.reset()
    _steps(env, 450)
    state, table = clone_vec_env(env), (tmp_path / "0.monitor.csv").read_text()
    _steps(env, 450)
    env.close()
    env = make_vec_env("Pendulum-v1", n_envs=1, monitor_dir=str(tmp_path), monitor_kwargs={"override_existing": False})
    env.reset()
    restore_vec_env(env, state)
    assert (tmp_path / "0.monitor.csv").read_text() == table
    _steps(env, 200)
    assert len((tmp_path / "0.monitor.csv").read_text().splitlines()) == len(table.splitlines()) + 1
