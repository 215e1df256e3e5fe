"""Worker processes: what they import, how they fail, and that none is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

import sb3_trpo
from sb3_trpo.processes import Workers
from sb3_trpo.processes.messages import dump

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

    def leave(self) -> None:
        sys.exit("no licence")

    def arguments(self) -> list[str]:
        return sys.argv

    def start(self) -> int:
        self.program = subprocess.Popen(["sleep", "60"])
        self.child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        self.child.start()
        return self.child.pid

    def stop(self) -> tuple[int, int | None]:
        self.program.terminate()
        return self.program.wait(timeout=5.0), self.child.exitcode

    def fork_and_leave(self) -> int:
        fork = os.fork()
        if fork == 0:
            sys.exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def close_later(self, path: str) -> None:
        self.path = path

    def close(self) -> None:
        if hasattr(self, "path"):
            time.sleep(2.5)
            Path(self.path).write_text("closed")


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


def test_what_goes_on_in_them_is_as_it_is_here(capfd, monkeypatch):
    """The script's arguments, what is printed and when, an object that ends Python, a place that is no text."""
    monkeypatch.setattr(sys, "argv", ["script.py", "--level", "3"])
    monkeypatch.setattr(sys, "path", [*sys.path, Path("nowhere")])
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    started = Workers([(Kept, ())], "keep things", "Do without.")
    try:
        assert started.call("arguments", {0: ()}) == {0: ["script.py", "--level", "3"]}
        assert started.call("read", {0: ()}) == {0: ""} and capfd.readouterr().out == "this is no reply\n"
        with pytest.raises(RuntimeError, match="SystemExit: no licence"):
            started.call("leave", {0: ()})
        started.send({0: dump(("echo", (1,)))})
        with pytest.raises(RuntimeError, match="at a former request"):
            started.send({0: dump(("echo", (2,)))})
        assert started.receive() == {0: 1}
    finally:
        started.close()


def test_processes_that_they_start_are_ended_as_elsewhere_and_do_not_hide_that_they_have_ended(workers):
    child = workers.call("start", {0: ()})[0]
    assert workers.call("stop", {0: ()}) == {0: (-signal.SIGTERM, None)}
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=r"Process 1 of the 2 that keep things ended .*exit status -9"):
        workers.call("die", {0: ()})
    assert time.monotonic() - begin < 10.0
    os.kill(child, signal.SIGTERM)
    assert gone(child)


def test_forks_leave_alone_what_is_not_theirs(workers):
    """A fork of this process ends without ending the workers; one of a worker's ends as it says."""
    fork = os.fork()
    if fork == 0:
        workers.close()
        os._exit(0)
    os.waitpid(fork, 0)
    assert workers.call("fork_and_leave", {0: ()}) == {0: 7}


def test_an_interruption_leaves_them_busy_until_they_are_settled(workers):
    workers.call("echo", {0: (1,), 1: (1,)})
    Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        workers.call("sleep", {0: (1.5,), 1: (0.0,)})
    assert workers.interrupted and workers.busy and not workers.ended
    with pytest.raises(RuntimeError, match="at a former request"):
        workers.call("echo", {1: (2,)})
    workers.settle(10.0)
    assert not workers.interrupted and workers.call("echo", {0: (3,)}) == {0: 3}


def test_they_are_given_time_to_close_what_they_keep(workers, tmp_path):
    """Though another process has the pipes that this one closes."""
    workers.call("close_later", {0: (str(tmp_path / "file"),)})
    other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        workers.close()
        assert (tmp_path / "file").read_text() == "closed"
    finally:
        other.kill()
        other.join()


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
