"""Environments in worker processes: what DummyVecEnv gives, bit for bit; errors that say where; nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_trpo import TRPO, WorkerVecEnv
from sb3_trpo.vec_env import clone_rows, restore_rows
from tests.processes.test_owner import gone
from tests.toys import BOX_ACTIONS, DICT_OBSERVATIONS, ToyEnv, parameters, same

IMAGES = spaces.Box(0, 255, (8, 8, 1), dtype=np.uint8)


class Pictures(ToyEnv):
    """Bytes as observations."""

    def _observe(self) -> Any:
        super()._observe()
        return self.np_random.integers(0, 256, IMAGES.shape, dtype=np.uint8)

    def render(self) -> Any:
        return np.full((2, 2, 3), self.time, dtype=np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        obs, _ = super().reset(seed=seed)
        return obs, {"options": options}


class Counting(ToyEnv):
    """Whole numbers as observations."""

    def _observe(self) -> Any:
        super()._observe()
        return self.np_random.integers(5)


def makers(kind: type, observations: spaces.Space, actions: spaces.Space, count: int = 3) -> list[partial]:
    return [partial(_made, kind, observations, actions) for _ in range(count)]


def _made(kind: type, observations: spaces.Space, actions: spaces.Space) -> gym.Env:
    return Monitor(kind(actions, observations))


def equal(a: Any, b: Any) -> bool:
    """Of the same types and values, bit for bit; but for Monitor's clock."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(key == "t" or equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and np.asarray(a).dtype == np.asarray(b).dtype and np.array_equal(a, b)


@pytest.mark.parametrize(
    ("kind", "observations", "actions"),
    [
        (Pictures, IMAGES, BOX_ACTIONS),
        (ToyEnv, DICT_OBSERVATIONS, spaces.MultiDiscrete([3, 2])),
        (Counting, spaces.Discrete(5), spaces.Discrete(3)),
    ],
    ids=["pictures", "dict", "discrete"],
)
def test_what_dummy_vec_env_gives(kind, observations, actions):
    """Two workers for three environments, over ends of episodes and a second reset."""
    there, here = (vec(makers(kind, observations, actions)) for vec in (partial(WorkerVecEnv, n_workers=2), DummyVecEnv))
    try:
        actions.seed(0)
        for env in (there, here):
            env.seed(7)
            env.set_options([{}, {"level": 2}, {}])
        assert (there.observation_space, there.action_space) == (here.observation_space, here.action_space)
        assert equal(there.reset(), here.reset()) and equal(there.reset_infos, here.reset_infos)
        for step in range(34):
            given = np.stack([actions.sample() for _ in range(3)])
            assert equal(there.step(given), here.step(given)) and equal(there.reset_infos, here.reset_infos)
            if step == 24:
                assert equal(there.reset(), here.reset())
        first = there.step(given)
        kept = first[0].copy()
        there.step(given)
        assert equal(first[0], kept)  # no views of shared memory
    finally:
        there.close()


class Fragile(gym.Wrapper):
    """Fails, or sleeps, where its attribute says so."""

    do, lock = "", threading.Lock()

    def take(self, method: int) -> int:
        return method

    def step(self, action: Any) -> Any:
        if self.get_wrapper_attr("do") == "fail":
            raise ValueError("the floor is wet")
        if self.get_wrapper_attr("do") == "sleep":
            time.sleep(120.0)
        return self.env.step(action)


def cart() -> gym.Env:
    """Without gymnasium's TimeLimit, which RL Zoo replaces in this process if another test imports it."""
    return gym.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=-1)


@pytest.fixture(scope="module")
def carts():
    """Three carts in two workers."""
    env = WorkerVecEnv([lambda: Fragile(Monitor(cart()))] * 3, n_workers=2)
    yield env
    pids = [process.pid for process in env._workers.processes]
    env.close()
    env.close()
    assert all(map(gone, pids))
    with pytest.raises(RuntimeError, match="make a new WorkerVecEnv"):
        env.reset()


def test_methods_of_vec_env(carts):
    carts.reset()
    carts.set_attr("number", 4, indices=[2, 0])
    carts.set_attr("number", 5, indices=1)
    assert carts.get_attr("number", [1, 2, 0]) == [5, 4, 4] and carts.get_attr("number", -1) == [4]
    assert carts.env_method("get_wrapper_attr", "number", indices=[1]) == [5]
    assert carts.env_method("get_wrapper_attr", name="number") == [4, 5, 4]
    assert carts.env_method("take", method=3) == [3, 3, 3]
    assert carts.metadata == cart().metadata
    with pytest.raises(Exception, match="Environment 2 could not step: IndexError"):
        carts.step(np.zeros(2, dtype=int))
    carts.reset()
    carts.step_async(np.zeros(3, dtype=int))
    with pytest.raises(RuntimeError, match=r"call step_wait\(\)"):
        carts.get_attr("number")
    assert carts.step_wait()[1].tolist() == [1.0, 1.0, 1.0]
    assert carts.env_is_wrapped(Monitor, [0, 1]) == [True, True] and carts.env_is_wrapped(VecNormalize) == [False] * 3
    assert carts.has_attr("lock") and not carts.has_attr("key")
    assert carts.render_mode == "rgb_array" and carts.render().shape == (800, 1200, 3)
    with pytest.raises(AttributeError, match=r"Environment 2 could not answer get_attr.*no attribute 'key'"):
        carts.get_attr("key", indices=2)
    assert carts.reset().shape == (3, 4)
    with pytest.raises(TypeError, match="live in processes"):
        carts.__deepcopy__({})


@pytest.mark.parametrize("algorithm", [PPO, A2C, TRPO])
def test_the_same_learning(carts, algorithm):
    here = DummyVecEnv([lambda: Monitor(cart())] * 3)
    small = {} if algorithm is A2C else {"batch_size": 48}
    models = [algorithm("MlpPolicy", env, n_steps=48, seed=2, device="cpu", **small).learn(288) for env in (carts, here)]
    assert same(*map(parameters, models))
    assert [(e["r"], e["l"]) for e in models[0].ep_info_buffer] == [(e["r"], e["l"]) for e in models[1].ep_info_buffer]


@pytest.mark.parametrize("how", ["fail", "kill"])
def test_failures_are_told_at_once_and_learning_goes_on(carts, how):
    model = (TRPO if how == "kill" else PPO)("MlpPolicy", carts, n_steps=16, batch_size=48, seed=0, device="cpu").learn(48)
    carts.set_attr("do", "fail" if how == "fail" else "sleep", indices=1)
    former = list(carts._workers.processes)
    if how == "kill":
        threading.Timer(0.5, lambda: os.kill(former[1].pid, signal.SIGKILL)).start()  # while the other one sleeps
    message = (
        r"Environment 1 could not step: ValueError: the floor is wet \(in process 2 of the 2 that run environments\)"
        if how == "fail"
        else r"Process 2 of the 2 that run environments ended.*exit status -9.*reset\(\) starts new ones"
    )
    begin = time.monotonic()
    with pytest.raises(ValueError if how == "fail" else RuntimeError, match=message):
        model.learn(48)
    assert time.monotonic() - begin < 10.0
    assert all(process.poll() is not None for process in former)
    with pytest.raises(RuntimeError, match=r"reset\(\) starts new ones"):
        carts.get_attr("do")
    assert model.learn(48, reset_num_timesteps=how == "fail").num_timesteps >= 48


def test_states_are_exact(carts):
    """Truth: a DummyVecEnv that steps on from there."""
    here = DummyVecEnv([lambda: Fragile(Monitor(cart()))] * 3)
    carts.seed(3)
    carts.reset()
    for _ in range(5):
        carts.step(np.array([1, 0, 1]))
    states = clone_rows(carts, [2, 0, 1])
    carts.step(np.array([0, 0, 0]))
    here.reset()
    for env in (carts, here):
        restore_rows(env, states, [2, 0, 1])
    ends = 0
    for _ in range(60):
        (obs, rewards, dones, _), expected = (env.step(np.array([1, 0, 1])) for env in (carts, here))
        assert equal([obs, rewards, dones], list(expected[:3]))
        ends += dones.sum()
    assert ends > 6
    with pytest.raises(TypeError, match=r"Environment 0 could not answer clone_state"):
        carts.call_cloneable("clone_state", [0], (1,))


def test_mistakes_are_told():
    for given, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n_workers"):
            WorkerVecEnv([lambda: gym.make("CartPole-v1")], given)
    with pytest.raises(ValueError, match="at least one function"):
        WorkerVecEnv([])
    with pytest.raises(Exception, match=r"Environment 1 could not be made: NameNotFound: .*NoSuch"):
        WorkerVecEnv([lambda: gym.make("CartPole-v1"), lambda: gym.make("NoSuch-v1")], n_workers=1)


def _slow() -> gym.Env:
    time.sleep(1.0)
    return gym.make("CartPole-v1")


@pytest.mark.parametrize("other", [_slow, partial(gym.make, "NoSuch-v1")])
def test_why_an_environment_cannot_be_made_is_said_though_another_worker_is_at_it(other: Any):
    with pytest.raises(Exception, match=r"Environment 0 could not be made: NameNotFound: .*NoSuch"):
        WorkerVecEnv([partial(gym.make, "NoSuch-v1"), other], n_workers=2)


def test_what_is_registered_here_can_be_made_there():
    """As a script registers it, by a class or by a text; what cannot be pickled does not stand in the way."""
    gym.register("Toy-v0", entry_point=ToyEnv)
    gym.register("ToyByName-v0", entry_point="tests.toys:ToyEnv", kwargs={"action_space": spaces.Discrete(3)})
    gym.register("Locked-v0", entry_point=ToyEnv, kwargs={"faults": {0: threading.Lock()}})
    try:
        env = WorkerVecEnv([partial(gym.make, "Toy-v0"), partial(gym.make, "Toy-v0")], n_workers=2)
        assert env.reset().shape == (2, 4)
        env.close()
        named = WorkerVecEnv([partial(gym.make, "ToyByName-v0")])
        assert named.action_space == spaces.Discrete(3)
        named.close()
    finally:
        for name in ("Toy-v0", "ToyByName-v0", "Locked-v0"):
            del gym.registry[name]


def test_environments_that_differ_are_refused():
    with pytest.raises(ValueError, match="Environment 1 has the observation space"):
        WorkerVecEnv([lambda: gym.make("CartPole-v1"), lambda: gym.make("Pendulum-v1")], n_workers=2)


def test_nothing_is_left_of_three_hundred_learn_calls(carts):
    def held() -> tuple[int, list[str]]:
        return len(os.listdir("/proc/self/fd")), sorted(os.listdir("/dev/shm"))

    model = A2C("MlpPolicy", carts, n_steps=1, device="cpu").learn(3)
    before = held()
    for _ in range(300):
        model.learn(3)
    assert held()[0] == before[0] and [name for name in held()[1] if "observations" in name] == []


SCRIPT = """
import sys
import time
import gymnasium as gym
from stable_baselines3 import PPO
from sb3_trpo import TRPO, WorkerVecEnv
from sb3_trpo.vec_env import worker_vec_env

worker_vec_env.PATIENCE = 1.0

class Slow(gym.Wrapper):
    def step(self, action):
        time.sleep(0.0 if self.env.unwrapped.steps_beyond_terminated is None else 1.0)
        time.sleep(self.get_wrapper_attr("pause"))
        return self.env.step(action)

def make():
    env = Slow(gym.make("CartPole-v1"))
    env.pause = 0.0
    return env

env = WorkerVecEnv([make] * 2, n_workers=2)
model = ALGORITHM("MlpPolicy", env, n_steps=64, batch_size=128, device="cpu").learn(1)
env.set_attr("pause", float(sys.argv[1]), indices=0)
pids = [process.pid for process in env._workers.processes]
print(*pids, flush=True)
try:
    model.learn(10**9)
except KeyboardInterrupt:
    try:
        print(env.get_attr("pause"))
    except RuntimeError as error:
        print(str(error).partition(":")[0])
    print(model.learn(1).num_timesteps, pids == [process.pid for process in env._workers.processes], flush=True)
"""


@pytest.mark.parametrize(("pause", "how"), [(300.0, signal.SIGINT), (0.005, signal.SIGINT), (300.0, signal.SIGKILL)])
def test_no_process_is_left_behind(pause, how):
    """A script without a __main__ guard, interrupted, and killed, while an environment is at its step.

    After an interruption those that come back from it are reset, and the others made anew.
    """
    script = SCRIPT.replace("ALGORITHM", "TRPO" if how is signal.SIGINT else "PPO")
    process = subprocess.Popen([sys.executable, "-c", script, str(pause)], stdout=subprocess.PIPE, text=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(1.0)
    process.send_signal(how)
    rest = process.stdout.read().splitlines()
    process.wait(timeout=60.0)
    process.stdout.close()
    assert all(map(gone, pids))
    ended = "The processes of this WorkerVecEnv have ended"
    answer = f"[{pause}, 0.0]" if pause < 1.0 else ended
    assert rest == ([answer, f"128 {pause < 1.0}"] if how is signal.SIGINT else [])


CLOSING = """
import os, signal, time
from threading import Timer
import gymnasium as gym
import numpy as np
from sb3_trpo import WorkerVecEnv

class Closing(gym.Wrapper):
    def step(self, action):
        time.sleep(1.0)
        return self.env.step(action)

    def close(self):
        os.write(1, b"closed\\n")  # in one piece, also where Python does not buffer

env = WorkerVecEnv([lambda: Closing(gym.make("CartPole-v1"))] * 2, n_workers=2)
env.reset()
Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    env.step(np.zeros(2, dtype=int))
except KeyboardInterrupt:
    try:
        env.step_wait()
    except RuntimeError as error:
        print(str(error).partition(",")[0])
finally:
    env.close()
"""


def test_environments_are_closed_though_they_were_interrupted():
    output = subprocess.run([sys.executable, "-c", CLOSING], capture_output=True, text=True, timeout=60).stdout
    assert sorted(output.splitlines()) == ["The wait for this step was interrupted", "closed", "closed"]


PRINTING = """
import gymnasium as gym
import numpy as np
from sb3_trpo import WorkerVecEnv

class Printing(gym.Wrapper):
    def step(self, action):
        print("x" * 1000)
        return self.env.step(action)

env = WorkerVecEnv([lambda: Printing(gym.make("CartPole-v1"))])
obs = env.reset()
rewards = [float(env.step(np.zeros(1, dtype=int))[1][0]) for _ in range(3)]
env.close()
open(FILE, "w").write(str(rewards))
"""


@pytest.mark.parametrize("streams", ["", ">&-", "<&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_take_the_place_of_what_is_shared(streams, tmp_path):
    script, file = tmp_path / "script.py", tmp_path / "rewards"
    script.write_text(PRINTING.replace("FILE", repr(str(file))))
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    command = ["bash", "-c", f"{sys.executable} {script} {streams}"]
    subprocess.run(command, env=environment, timeout=60, stdout=subprocess.DEVNULL)
    assert file.read_text() == "[1.0, 1.0, 1.0]"


def test_a_step_must_be_asked_for() -> None:
    env = WorkerVecEnv([ToyEnv])
    env.reset()
    with pytest.raises(RuntimeError, match=r"call step_async\(actions\)"):
        env.step_wait()
    env.step_async(np.array([env.action_space.sample()]))
    assert len(env.step_wait()) == 4
    env.close()


class Leaving(ToyEnv):
    def __init__(self, when: str):
        super().__init__()
        self.when = when

    def reset(self, **kwargs: Any) -> Any:
        return sys.exit(3) if self.when == "reset" else super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        return sys.exit(3) if self.when == "step" else super().step(action)


@pytest.mark.parametrize("when", ["reset", "step"])
def test_an_environment_that_ends_the_program_is_named(when: str) -> None:
    env = WorkerVecEnv([ToyEnv, partial(Leaving, when)], n_workers=1)
    with pytest.raises(RuntimeError, match=f"Environment 1 could not (be )?{when}: SystemExit: 3"):
        env.reset()
        env.step(np.array([env.action_space.sample()] * 2))
    env.close()
