"""Worker processes: what they import, how they fail, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import sb3_trpo
from sb3_trpo.processes import Workers

ROOT = str(Path(sb3_trpo.__file__).parents[1])


class Kept:
    """What the workers of these tests keep."""

    def echo(self, value: Any) -> Any:
        return value

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def fail(self) -> None:
        raise KeyError("nothing of that name")

    def read(self) -> str:
        print("this is no reply")
        return sys.stdin.read()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10.0
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.05)
    return not os.path.exists(f"/proc/{pid}")


@pytest.fixture
def workers():
    started = Workers([(Kept, ())] * 2, "keep things", "Do without.")
    yield started
    pids = [process.pid for process in started.processes]
    started.close()
    assert all(map(gone, pids))


def test_they_answer_fail_and_are_ended(workers):
    large = os.urandom(2**20)
    assert workers.call("echo", {1: (large,), 0: (lambda: 3,)})[1] == large
    assert workers.call("read", {0: ()}) == {0: ""}
    with pytest.raises(RuntimeError, match=r"KeyError: 'nothing of that name' \(in process 2 of the 2 that keep things\)"):
        workers.call("fail", {1: ()})
    assert workers.call("echo", {0: (1,), 1: (2,)}) == {0: 1, 1: 2}
    # One ends while another one is busy
    begin = time.monotonic()
    os.kill(workers.processes[1].pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"Process 2 of the 2 that keep things ended .*exit status -9.*Do without"):
        workers.call("sleep", {0: (60.0,)})
    assert time.monotonic() - begin < 10.0 and workers.ended
    assert all(process.poll() is not None for process in workers.processes)


MODULE = """
import gymnasium as gym
from sb3_trpo import TRPO, WorkerVecEnv

class Mine(gym.Wrapper):
    pass

if __name__ != "__main__":
    env = WorkerVecEnv([lambda: Mine(gym.make("CartPole-v1"))] * 2, n_workers=1)
    vine = {"n_states": 2, "branch_length": 2, "n_workers": 1}
    model = TRPO("MlpPolicy", env, n_steps=4, batch_size=4, sampling="vine", vine_kwargs=vine)
    model.learn(1)
    print("learned", model.num_timesteps)
    env.close()
"""
OTHER = """
import gymnasium as gym
import mine

class Other(mine.Mine):
    pass
"""
IMPORTED_BY_NAME = """
import sys
import gymnasium as gym
sys.modules["mine"] = type(sys)("mine")
sys.modules["mine"].Mine = gym.Wrapper
import other
del sys.modules["mine"]
from sb3_trpo import WorkerVecEnv
try:
    WorkerVecEnv([lambda: other.Other(gym.make("CartPole-v1"))])
except RuntimeError as error:
    print(error)
"""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    """A script in one folder, started in another one, where a file has the name of a library."""
    scripts, here = tmp_path / "scripts", tmp_path / "here"
    scripts.mkdir()
    here.mkdir()
    (scripts / "mine.py").write_text(MODULE)
    (scripts / "other.py").write_text(OTHER)
    (scripts / "main.py").write_text("import mine")
    (scripts / "by_name.py").write_text(IMPORTED_BY_NAME)
    (here / "cloudpickle.py").write_text("raise SystemExit('imported from the current folder')")
    environment = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run(
        [sys.executable, str(scripts / arguments[0])], cwd=here, env=environment, capture_output=True, text=True, timeout=300
    )


def test_a_module_that_learns_when_it_is_imported_does_so_once(tmp_path):
    """And workers look for modules where the main process does: not in the current folder."""
    result = run(tmp_path, "main.py")
    assert result.stdout.splitlines() == ["learned 16"], result.stderr


def test_workers_that_would_start_workers_are_refused(tmp_path):
    """The worker imports a module that starts workers, because another one needs it."""
    result = run(tmp_path, "by_name.py")
    assert "put what it runs under" in result.stdout, result.stderr
