"""SIGTERM and SIGUSR1 end a run with a checkpoint and status 75; a second signal ends it at once."""

import multiprocessing
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback

from sb3_trpo import TRPO
from sb3_trpo.checkpoints import EXIT_STATUS, ExactCheckpoint, Preempted, has_checkpoints
from tests.checkpoints.test_checkpoint import SETTINGS, _env
from tests.ranks import on_ranks
from tests.resumable_runs import differences, outcome, train


class Signals(BaseCallback):
    """Sends this process a signal in some step."""

    def __init__(self, number: int, at: int):
        super().__init__()
        self.number, self.at = number, at

    def _on_step(self) -> bool:
        if self.n_calls == self.at:
            os.kill(os.getpid(), self.number)
        return True


def _learn(folder: Path, *callbacks: BaseCallback, **options: Any) -> TRPO:
    model = TRPO("MlpPolicy", _env(), **SETTINGS)
    return model.learn(160, [ExactCheckpoint(folder, every_steps=10**6, **options), *callbacks])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_run_after_the_rollout(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    former = signal.getsignal(number)
    with pytest.raises(Preempted) as ended:
        _learn(tmp_path, Signals(number, 40))
    assert ended.value.code == EXIT_STATUS == 75
    assert signal.getsignal(number) is former
    assert [path.name for path in tmp_path.iterdir()] == ["000000000064"]
    assert f"Ended by {signal.Signals(number).name} after 64 steps" in capsys.readouterr().err


def test_the_resumed_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to end in the middle of the second update."""
    expected = outcome(train("cartpole", tmp_path / "whole"), tmp_path / "whole")
    update = TRPO._find_step

    def asked(model: TRPO, objective: Any) -> Any:
        if model._n_updates == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(model, objective)

    with monkeypatch.context() as patched, pytest.raises(Preempted):
        patched.setattr(TRPO, "_find_step", asked)
        train("cartpole", tmp_path / "left", every_steps=10**6)
    assert differences(expected, outcome(train("cartpole", tmp_path / "left"), tmp_path / "left")) == []


def test_handlers_are_gone_when_training_is_over(tmp_path: Path) -> None:
    former = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    _learn(tmp_path)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == former


def test_own_handlers_are_left_alone_without_signals(tmp_path: Path) -> None:
    received = []
    former = signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
    try:
        _learn(tmp_path, Signals(signal.SIGUSR1, 40), signals=())
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert received == [1] and not list(tmp_path.iterdir())


def _ends(folder: str, how: str) -> None:
    sys.stderr = open(os.devnull, "w")
    if how == "twice":
        _learn(Path(folder), Signals(signal.SIGTERM, 40), Signals(signal.SIGTERM, 41))
    elif how == "once":
        _learn(Path(folder), Signals(signal.SIGTERM, 40))
    else:  # after a failure there is no end of a rollout to wait for
        try:
            _learn(Path(folder), Signals(-1, 40))
        except OSError:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30.0)


@pytest.mark.parametrize("how, status", [("once", 75), ("twice", -signal.SIGTERM), ("after a failure", -signal.SIGTERM)])
def test_exit_status(how: str, status: int, tmp_path: Path) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=_ends, args=(str(tmp_path), how))
    process.start()
    process.join(60.0)
    assert process.exitcode == status
    assert bool(list(tmp_path.iterdir())) == (how == "once")


def _one_of_two(folder: str) -> int:
    callbacks = [Signals(signal.SIGTERM, 40)] if os.environ["RANK"] == "1" else []
    try:
        _learn(Path(folder), *callbacks)
    except Preempted as ended:
        return int(ended.code)  # type: ignore[arg-type]
    return 0


def test_one_rank_is_asked_and_all_end(tmp_path: Path) -> None:
    assert on_ranks(_one_of_two, str(tmp_path)) == [75, 75]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000128.rank0of2", "000000000128.rank1of2"]


def _begin_again(folder: str) -> tuple[bool, list[str]]:
    """Rank 0 has a checkpoint that rank 1 was killed before: it does not count."""
    before = has_checkpoints(folder)
    _learn(Path(folder))
    return before, sorted(path.name for path in Path(folder).iterdir())


def test_a_checkpoint_that_one_rank_lacks_does_not_count(tmp_path: Path) -> None:
    on_ranks(_one_of_two, str(tmp_path))
    shutil.rmtree(tmp_path / "000000000128.rank1of2")
    for before, left in on_ranks(_begin_again, str(tmp_path)):
        assert not before and "000000000128.rank0of2" not in left
