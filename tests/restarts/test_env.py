"""Restarted episodes: exactly what a reseeded copy of the saved state gives, in any VecEnv, and counted apart."""

import gc
import os
import pickle
import tracemalloc
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, TimeLimit
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.restarts import RareFirst, RestartEnv, RestartSchedule, Source, Start, Visited
from sb3_trpo.simulators import CloneableEnv, check_clone, clone_state, copy_env, reseed, restore_state
from sb3_trpo.vec_env import clone_rows, restore_rows
from tests.simulator_toys import Walk

RESTARTS = int(os.environ.get("SB3_TRPO_RESTARTS", "60"))  # of each task
COMPARED = 50


def hopper() -> gym.Env:
    return Monitor(gym.make("Hopper-v5", max_episode_steps=80))


def walk() -> gym.Env:
    return TimeLimit(Walk(), 70)


def stacked() -> gym.Env:
    return FrameStackObservation(gym.make("Pendulum-v1"), 3)


class Remembering(Visited):
    """Says which state it chose last."""

    last: Start | None = None

    def choose(self, rng: np.random.Generator) -> Start | None:
        self.last = super().choose(rng)
        return self.last


class Noted(gym.Wrapper):
    """Counts its resets and steps, and keeps the info of every reset of what it wraps."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.infos: list[dict[str, Any]] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self.infos.append(info)
        return observation, info


def steps_of(env: gym.Env, actions: list[Any]) -> list[Any]:
    """Everything but clocks, until the episode ends."""
    seen = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append((deepcopy(observation), reward, terminated, truncated))
        if terminated or truncated:
            break
    return seen


@pytest.mark.parametrize("make", [hopper, walk, stacked])
def test_a_restarted_episode_is_the_saved_one_with_new_noise(make: Callable[[], gym.Env]):
    source = Remembering(capacity=20)
    env, twin = RestartEnv(make(), source, share=1.0), make()
    twin.reset(seed=1)
    env.reset(seed=0)
    space = deepcopy(env.action_space)
    space.seed(0)
    assert not steps_of(env, [space.sample() for _ in range(20)])[-1][2]
    number = 0
    while number < RESTARTS:
        observation, info = env.reset()
        if "restart" not in info:
            continue
        assert info["restart"]["number"] == number and source.last is not None
        number += 1
        np.testing.assert_array_equal(observation, source.last.observation)
        restore_state(twin, reseed(source.last.state, info["restart"]["seed"]))
        actions = [space.sample() for _ in range(COMPARED)]
        np.testing.assert_equal(steps_of(env, actions), steps_of(twin, actions))
    assert len(source.starts) == 20


def test_noise_is_new_after_each_restart():
    env = RestartEnv(walk(), Visited(1), share=1.0)
    env.reset(seed=0)
    seen = set()
    for _ in range(20):
        env.reset()
        seen.add(env.step(0)[1])
    assert len(seen) == 20


def test_seeds_and_options_lead_to_the_start_and_equal_seeds_to_equal_runs():
    runs = []
    for _ in range(2):
        env = RestartEnv(walk(), Visited(5), share=0.5)
        assert env.reset(seed=4)[1] == {} and env.reset(options={})[1] == {}
        run = []
        for _ in range(40):
            observation, info = env.reset()
            run.append((observation.item(), info, [row[1] for row in steps_of(env, [1] * 10)]))
        assert env.reset(seed=4)[0] == 0.0
        runs.append(run)
    assert runs[0] == runs[1]
    restarted = sum("restart" in info for _, info, _ in runs[0])
    assert 10 < restarted < 30  # of 40 with probability 1/2: outside with probability 0.0011


def test_nothing_is_saved_and_no_episode_restarted_while_the_share_is_zero():
    env = RestartEnv(walk(), source := Visited(5), share=0.0)
    env.reset(seed=0)
    steps_of(env, [1] * 20)
    assert not source.starts and env.reset()[1] == {}
    env.set_share(1.0)
    assert env.reset()[1] == {}  # nothing is there yet
    assert len(source.starts) == 1 and "restart" in env.reset()[1]


def test_a_time_limit_goes_on_where_it_stood():
    env = RestartEnv(walk(), Visited(1000), share=1.0)
    env.reset(seed=0)
    assert len(steps_of(env, [1] * 100)) == 70
    for _ in range(20):
        _, info = env.reset()
        assert len(steps_of(env, [1] * 100)) == 70 - info["restart"]["steps"]


def test_monitors_of_restarted_episodes_are_told_apart():
    env = RestartEnv(Monitor(walk()), Visited(50), share=1.0)
    env.reset(seed=0)
    for _ in range(3):
        while True:
            *_, truncated, info = env.step(1)
            if truncated:
                break
        if env.restarts == 0:
            assert info["episode"]["l"] == 70 and "restart" not in info
        else:
            assert "episode" not in info and info["restart"]["episode"]["l"] == 70
        env.reset()


class Noting(Source):
    def __init__(self, start: Start):
        self.start, self.totals = start, []

    def choose(self, rng: np.random.Generator) -> Start:
        return self.start

    def ended(self, start: Start, total: float) -> None:
        self.totals.append(total)


def test_the_source_hears_what_was_earned_from_the_saved_state_on():
    source = Visited(1000)
    env = RestartEnv(walk(), source, share=1.0)
    env.reset(seed=0)
    steps_of(env, [1] * 30)
    start = source.starts[-1]
    assert start.steps == 30 and start.total != 0.0
    env = RestartEnv(walk(), noting := Noting(start), share=1.0)
    env.reset(seed=0)
    env.reset()
    rewards = [row[1] for row in steps_of(env, [1] * 100)]
    assert len(rewards) == 40
    assert noting.totals == pytest.approx([sum(rewards)], rel=1e-12)


def test_the_state_of_the_wrapper_is_exact_with_its_source():
    report = check_clone(RestartEnv(hopper(), RareFirst(lambda env, obs: int(10 * obs[0])), share=0.7), n_steps=300)
    assert report.exact, report
    env = RestartEnv(walk(), Visited(30), share=0.7)
    env.reset(seed=0)
    steps_of(env, [1] * 70)
    data = pickle.dumps(clone_state(env))
    expected = [(env.reset(), steps_of(env, [1] * 70)) for _ in range(20)]
    other = copy_env(env)
    restore_state(other, pickle.loads(data))
    np.testing.assert_equal([(other.reset(), steps_of(other, [1] * 70)) for _ in range(20)], expected)


class OddNoise(Walk):
    """Draws from a generator of its own."""

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        self.own = np.random.default_rng(0)
        return super().reset(**kwargs)

    def noise(self) -> float:
        return self.own.normal()


@pytest.mark.parametrize("kind", [Walk, OddNoise])
def test_reseeding_its_state_reaches_all_generators_inside(kind: type[Walk]):
    env = RestartEnv(TimeLimit(kind(), 70), Source(), share=0.0)
    env.reset(seed=0)
    state = clone_state(env)
    runs = []
    for seed in (1, 1, 2):
        restore_state(env, reseed(state, seed))
        runs.append([row[1] for row in steps_of(env, [1] * 5)])
    assert runs[0] == runs[1] and not set(runs[0]) & set(runs[2])


def test_environments_of_a_vec_env_share_a_source_and_rows_restore_it():
    source = Visited(40)
    env = DummyVecEnv([lambda: RestartEnv(walk(), source, share=1.0)] * 2)
    env.seed(0)
    env.reset()
    actions = np.ones(2, dtype=int)
    for _ in range(30):
        env.step(actions)
    states = pickle.loads(pickle.dumps(clone_rows(env)))
    expected = [env.step(actions) for _ in range(200)]
    restore_rows(env, states)
    np.testing.assert_equal([env.step(actions) for _ in range(200)], expected)
    assert sum("restart" in info for _, _, _, infos in expected for info in infos) > 5


VEC_ENVS: dict[str, Callable[[Source], Any]] = {
    "DummyVecEnv": lambda source: make_vec_env(hopper, 2, wrapper_class=RestartEnv, wrapper_kwargs={"source": source}),
    "VecNormalize": lambda source: VecNormalize(
        make_vec_env(hopper, 2, wrapper_class=RestartEnv, wrapper_kwargs={"source": source})
    ),
    "VecFrameStack": lambda source: VecFrameStack(
        make_vec_env(hopper, 2, wrapper_class=RestartEnv, wrapper_kwargs={"source": source}), 2
    ),
    "SubprocVecEnv": lambda source: SubprocVecEnv([lambda: CloneableEnv(RestartEnv(hopper(), source))] * 2, "fork"),
}


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [*((TRPO, kind) for kind in VEC_ENVS), (PPO, "VecNormalize"), (PPO, "SubprocVecEnv"), (A2C, "DummyVecEnv")],
)
def test_algorithms_learn_with_it(kind: str, algorithm: type[BaseAlgorithm]):
    env = VEC_ENVS[kind](RareFirst(lambda env, obs: int(10 * obs[0])))
    settings = {"n_epochs": 1} if algorithm is PPO else {}
    algorithm("MlpPolicy", env, n_steps=128, seed=0, device="cpu", **settings).learn(1024, RestartSchedule(0.8, until=1.0))
    assert sum(env.get_attr("restarts")) > 5
    assert env.get_attr("share") == pytest.approx([0.2] * 2)  # in the last of four rollouts
    env.close()


def test_recurrent_and_masked_policies_learn_with_it():
    class Masked(Walk):
        def action_masks(self) -> np.ndarray:
            return np.array([True, self.position < 3.0])

    for algorithm, policy in ((RecurrentPPO, "MlpLstmPolicy"), (MaskablePPO, "MlpPolicy")):
        env = DummyVecEnv([lambda: RestartEnv(TimeLimit(Masked(), 20), Visited(100))])
        algorithm(policy, env, n_steps=64, n_epochs=1, seed=0, device="cpu").learn(128)
        assert sum(env.get_attr("restarts")) > 0


@pytest.mark.parametrize("wrapper", [None, VecNormalize])
def test_the_schedule_counts_restarts_whatever_is_around_and_begins_each_call_anew(wrapper: Any):
    env = make_vec_env("CartPole-v1", 2, seed=0, wrapper_class=RestartEnv, wrapper_kwargs={"source": Visited(10)})
    model = PPO("MlpPolicy", env if wrapper is None else wrapper(env), n_steps=64, seed=0, device="cpu")
    shares: list[list[float]] = []
    counts: list[float] = []

    class Watch(BaseCallback):
        def _on_training_start(self) -> None:
            shares.append([])

        def _on_rollout_start(self) -> None:
            shares[-1].append(self.logger.name_to_value["restarts/share"])
            counts.append(self.logger.name_to_value["restarts/count"])

        def _on_step(self) -> bool:
            return True

    for _ in range(2):
        model.learn(300, [RestartSchedule(lambda remaining: 0.5 * remaining), Watch()])
    assert shares[0] == shares[1] and shares[0][0] == 0.5 and sum(counts) > 0


def test_evaluation_never_restarts():
    source = Visited(100)
    train = make_vec_env(hopper, 2, wrapper_class=RestartEnv, wrapper_kwargs={"source": source, "share": 0.0})
    evaluation = DummyVecEnv([lambda: Noted(RestartEnv(hopper(), source, share=0.0))])
    model = PPO("MlpPolicy", train, n_steps=128, seed=0, device="cpu")
    model.learn(1024, callback=[RestartSchedule(1.0), EvalCallback(evaluation, eval_freq=128, verbose=0)])
    assert sum(env.restarts for env in train.envs) > 5
    assert len(evaluation.envs[0].infos) > 10
    assert not any("restart" in info for info in evaluation.envs[0].infos)


def test_memory_is_bounded():
    env = RestartEnv(walk(), RareFirst(capacity=50), share=0.5)
    env.reset(seed=0)

    def episodes(count: int) -> int:
        for _ in range(count):
            env.reset()
            steps_of(env, [1] * 70)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before, after = episodes(20), episodes(40)
    tracemalloc.stop()
    assert len(env.source.starts) == 50
    assert after < before + 40_000, (before, after)  # a state takes some 3,000 bytes: one of each episode would be 120,000


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"source": [1]}, TypeError, "give a sb3_trpo.restarts.Source"),
        ({"source": Visited(), "share": 1.5}, ValueError, "share=1.5 is outside"),
        ({"source": Visited(), "share": "half"}, TypeError, "share='half' is of type str"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        RestartEnv(walk(), **arguments)
    with pytest.raises(ValueError, match="until=0"):
        RestartSchedule(until=0.0)
    with pytest.raises(ValueError, match=r"RestartSchedule needs environments .* wrapper_class=RestartEnv"):
        TRPO("MlpPolicy", walk(), n_steps=64).learn(64, callback=RestartSchedule())
