"""Branches in other processes: the same ones, and no process left behind."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.sampling import Vine
from sb3_trpo.simulators import CannotCloneError, CloneableEnv
from tests.toys import ToyEnv, parameters, same
from tests.vines import VINE, model


class OwnSwimmer(SwimmerEnv):
    """A user's own class, whose states have the model in them."""


class Heavier(BaseCallback):
    """Edits the models of environments within reach before each rollout, each in its own way."""

    def _on_rollout_start(self) -> None:
        for factor, env in enumerate(self.training_env.unwrapped.envs, start=2):
            env.unwrapped.model.body_mass[1:] *= factor

    def _on_step(self) -> bool:
        return True


def _heavy(kind: type, factor: float) -> gym.Env:
    env = TimeLimit(kind(), 1000)
    env.unwrapped.model.body_mass[1:] *= factor
    return CloneableEnv(env)


@pytest.mark.parametrize(
    ("vec_env", "n_workers", "callback"),
    [(DummyVecEnv, 0, Heavier), (DummyVecEnv, 1, Heavier), (partial(SubprocVecEnv, start_method="fork"), 0, None)],
)
def test_branches_have_the_models_of_the_environments_they_branch_from(vec_env, n_workers, callback):
    """Truth: the returns of branches from states that have the model in them. Gymnasium's own classes leave it out."""
    returns = []
    for kind, vec, workers in ((OwnSwimmer, DummyVecEnv, 0), (SwimmerEnv, vec_env, n_workers)):
        env = vec([lambda kind=kind, factor=factor: _heavy(kind, factor) for factor in (1.0, 3.0)])
        vine = {"n_states": 16, "branches_per_state": 2, "branch_length": 5, "n_workers": workers}
        trpo = model(env, n_steps=16, vine_kwargs=vine)
        try:
            trpo.learn(1, callback=callback and callback())
            trpo.learn(1, callback=callback and callback())
            returns.append(trpo._experience.q_values)
        finally:
            trpo.close_vine()
            env.close()
    assert th.equal(*returns) and returns[0].std() > 0


# Processes of environments are forked here: RL Zoo, which other tests import, puts a class of its own in the place of
# gymnasium's TimeLimit


def test_environments_in_other_processes():
    settings = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}}
    env = make_vec_env("Pendulum-v1", 2, seed=0, wrapper_class=CloneableEnv, **settings)
    try:
        trpo = model(env, n_steps=16)
        trpo.learn(1)
        assert trpo.num_timesteps == 32 + 6 * 3 * 5
    finally:
        env.close()


@pytest.mark.parametrize(("vec_env", "n_workers"), [(DummyVecEnv, 1), (partial(SubprocVecEnv, start_method="fork"), 0)])
def test_classes_made_in_a_function(vec_env, n_workers):
    """As in a notebook's cell: a class that is sent to another process loses the name of the function it was made in."""

    class Local(gym.Wrapper):
        pass

    env = vec_env([lambda: CloneableEnv(Local(gym.make("Pendulum-v1")))] * 2)
    trpo = model(env, n_steps=16, vine_kwargs={**VINE, "n_workers": n_workers})
    try:
        trpo.learn(1)
        assert trpo.num_timesteps == 32 + 6 * 3 * 5
    finally:
        trpo.close_vine()
        env.close()


def test_environments_in_other_processes_need_the_wrapper():
    env = make_vec_env("Pendulum-v1", 2, seed=0, vec_env_cls=SubprocVecEnv)
    try:
        with pytest.raises(CannotCloneError, match="CloneableEnv"):
            model(env, n_steps=16).learn(1)
    finally:
        env.close()


@pytest.mark.parametrize(("env_id", "settings"), [("Hopper-v5", {}), ("FrozenLake-v1", {"branches_per_state": 5})])
def test_workers_give_what_one_process_gives(env_id, settings):
    runs = []
    for n_workers in (0, 2):
        env = VecNormalize(VecFrameStack(make_vec_env(env_id, 2, seed=5), 2) if env_id == "Hopper-v5" else
                           make_vec_env(env_id, 2, seed=5), norm_obs=env_id == "Hopper-v5")  # fmt: skip
        trpo = model(env, vine_kwargs={**VINE, **settings, "n_workers": n_workers})
        trpo.learn(400)
        runs.append((trpo.num_timesteps, parameters(trpo)))
        trpo.close_vine()
    assert runs[0][0] == runs[1][0] and same(runs[0][1], runs[1][1])


class Squashed(BaseFeaturesExtractor):
    """Features with parameters."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 4)
        self.layer = th.nn.Linear(3, 4)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.tanh(self.layer(observations))


def test_workers_tell_the_actors_features_from_the_critics():
    kwargs = {"features_extractor_class": Squashed, "share_features_extractor": False}
    runs = []
    for n_workers in (0, 1):
        trpo = model("Pendulum-v1", policy_kwargs=kwargs, vine_kwargs={**VINE, "n_workers": n_workers})
        trpo.learn(1)
        runs.append(trpo._experience.q_values)
        trpo.close_vine()
    assert th.equal(*runs)


def workers_of(trpo: TRPO) -> list[subprocess.Popen]:
    return trpo._sampler._workers.workers.processes


class Killing(BaseCallback):
    """Ends a worker while it has a job."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            victim = workers_of(self.model)[0].pid
            threading.Timer(0.5, lambda: os.kill(victim, signal.SIGKILL)).start()


def test_a_worker_that_dies_is_reported_at_once():
    long = {"n_states": 32, "branches_per_state": 32, "branch_length": 2000, "bootstrap": False, "n_workers": 2}
    trpo = model("Swimmer-v5", vine_kwargs={**long, "branch_length": 2})
    trpo.learn(1)
    trpo.vine_kwargs, trpo._sampler.settings = long, replace(trpo._sampler.settings, **long)  # the same processes, longer jobs
    trpo._sampler_made_for = (*trpo._sampler_made_for[:2], long, *trpo._sampler_made_for[3:])
    processes = workers_of(trpo)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="exit status -9"):
        trpo.learn(10_000, callback=Killing(), reset_num_timesteps=False)
    assert time.monotonic() - begin < 10.0
    assert all(process.poll() is not None for process in processes)


class Failing(gym.Wrapper):
    def step(self, action: Any) -> Any:
        if os.environ.get("MAIN_PROCESS") != str(os.getpid()):
            raise OSError("the simulator's license has expired")
        return self.env.step(action)


def test_a_worker_that_fails_says_why(monkeypatch):
    monkeypatch.setenv("MAIN_PROCESS", str(os.getpid()))
    trpo = model(Failing(gym.make("Pendulum-v1")), vine_kwargs={**VINE, "n_workers": 1})
    with pytest.raises(RuntimeError, match="license has expired"):
        trpo.learn(1)
    assert trpo._sampler is None


class MadeHereOnly(ActorCriticPolicy):
    def __init__(self, *args: Any, **kwargs: Any):
        if os.environ.get("MAIN_PROCESS") != str(os.getpid()):
            raise OSError("the network's license has expired")
        super().__init__(*args, **kwargs)


def test_a_worker_that_fails_before_its_first_job_says_why(monkeypatch):
    monkeypatch.setenv("MAIN_PROCESS", str(os.getpid()))
    trpo = model("Pendulum-v1", MadeHereOnly, vine_kwargs={**VINE, "n_workers": 1})
    grow = Vine.grow

    def late(vine: Vine, *args: Any) -> Any:
        vine._workers.workers.processes[0].wait()
        return grow(vine, *args)

    monkeypatch.setattr(Vine, "grow", late)
    with pytest.raises(RuntimeError, match="license has expired"):
        trpo.learn(1)


@pytest.mark.parametrize("change", ["hook", "method", "module"])
def test_workers_refuse_a_policy_that_was_changed(change):
    trpo = model("Pendulum-v1", vine_kwargs={**VINE, "n_workers": 1})
    network = trpo.policy.mlp_extractor.policy_net
    if change == "hook":
        network.register_forward_hook(lambda module, inputs, outputs: 5.0 * outputs)
    elif change == "method":
        trpo.policy.get_distribution = partial(ActorCriticPolicy.get_distribution, trpo.policy)
    else:
        network[1] = th.nn.ReLU()
    with pytest.raises(ValueError, match="hooked or put into it"):
        trpo.learn(1)


SCRIPT = """
import gymnasium as gym
from sb3_trpo import TRPO

class Mine(gym.Wrapper):
    pass

vine = {"n_states": 8, "branches_per_state": 2, "branch_length": 400, "bootstrap": False, "n_workers": 2}
model = TRPO("MlpPolicy", Mine(gym.make("Swimmer-v5")), n_steps=32, batch_size=32, sampling="vine", vine_kwargs=vine)
model.learn(1)
print(*(process.pid for process in model._sampler._workers.workers.processes), flush=True)
model.learn(10**9)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(how):
    """A script without a __main__ guard, interrupted, and killed."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2 and all(os.path.exists(f"/proc/{pid}") for pid in pids)
    time.sleep(1.0)
    process.send_signal(how)
    process.wait(timeout=60.0)
    process.stdout.close()
    deadline = time.monotonic() + 60.0
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("n_workers", "duplicate"), [(0, copy.deepcopy), (0, lambda trpo: pickle.loads(pickle.dumps(trpo))), (1, copy.deepcopy)]
)
def test_a_copied_model_starts_workers_of_its_own(n_workers, duplicate):
    """And trains as the original does."""
    trpo = model(ToyEnv(), vine_kwargs={**VINE, "n_workers": n_workers})
    trpo.learn(1)
    other = duplicate(trpo)
    for each in (trpo, other):
        each.set_random_seed(1)
        each.env.seed(1)
        each.learn(1)
    assert same(parameters(trpo), parameters(other)) and trpo._sampler is not other._sampler
    if n_workers:
        assert workers_of(trpo)[0].pid != workers_of(other)[0].pid
    for each in (trpo, other):
        each.close_vine()


class Pair(tuple):
    """What pickle cannot make again: it gives ``__new__`` one argument."""

    def __new__(cls, first, second):
        return super().__new__(cls, (first, second))


class Holding(ToyEnv):
    def reset(self, **settings: Any) -> Any:
        self.kept = Pair(1, 2)
        return super().reset(**settings)


def test_what_cannot_be_sent_here_is_refused_in_words():
    env = SubprocVecEnv([lambda: CloneableEnv(Holding())], start_method="fork")
    env.reset()
    with pytest.raises(CannotCloneError, match=r"not unpickled in this process.*Pair"):
        model(env).learn(1)
    env.close()


def test_what_cannot_be_sent_there_is_refused_in_words():
    with pytest.raises(ValueError, match=r"not unpickled in this process.*Pair(.|\n)*process 1 of the 1"):
        model(Holding(), vine_kwargs={**VINE, "n_workers": 1}).learn(1)
