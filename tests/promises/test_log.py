"""What is logged is numbers, so that any logger can work with it; what an update came to in words is in ``last_update``."""

import csv
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, configure

from sb3_trpo import TRPO
from sb3_trpo.trust_region import Status
from tests.toys import ToyEnv

SMALL: dict[str, Any] = {"n_steps": 128, "batch_size": 64, "seed": 0, "policy_kwargs": {"net_arch": [8]}}
VINE: dict[str, Any] = {"sampling": "vine", "vine_kwargs": {"n_states": 8, "branch_length": 3}}
BAD = {"faults": {130: ("observation", np.nan)}}


class Averaging(Logger):
    """Takes the mean of whatever is logged, as imitation's logger does."""

    def record(self, key: str, value: Any, exclude: Any = None) -> None:
        assert isinstance(value, Real) and not isinstance(value, bool), f"{key}: {value!r}"
        self.record_mean(key, value, exclude)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "step": ({}, {}, "ok"),
    "vine": ({"action_space": spaces.Discrete(3)}, VINE, "ok"),
    "gSDE": ({}, {"use_sde": True}, "ok"),
    "refused": ({}, {"target_kl": 1e-30}, "no acceptable candidate"),
    "without rewards": ({}, {"gamma": 1.0, "advantage_estimator": "monte_carlo"}, "zero gradient"),
    "bad rollout": (BAD, {}, "rollout not finite"),
    "critic": ({}, {"learning_rate": lambda progress: 1e30}, "ok"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_every_logged_value_is_a_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever became of the update; ``last_update`` has the same keys, with words for codes."""
    toy, settings, status = CASES[name]
    if name == "without rewards":
        monkeypatch.setattr(ToyEnv, "step", lambda self, action: (self._observe(), 0.0, False, False, {}))
    model = TRPO("MlpPolicy", ToyEnv(**toy), **{**SMALL, **settings})
    model.set_logger(Averaging(None, []))
    model.learn(256)
    assert model.last_update["train/status"] == status
    for key, value in model.last_update.items():
        logged = model.logger.name_to_value[key]
        if isinstance(value, Status):
            assert 0.0 <= logged <= max(status.code for status in Status)
    assert (model.last_update.get("train/critic_status") == "not finite") == (name == "critic")


class Updates(BaseCallback):
    """Notes what the update before each rollout came to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []

    def _on_rollout_start(self) -> None:
        self.found.append(self.model.last_update)

    def _on_step(self) -> bool:
        return True


def test_log_and_last_update_tell_the_same(tmp_path: Path) -> None:
    """A code in the file leads to the status with its words; what one update came to is not mixed with another's."""
    model, updates = TRPO("MlpPolicy", ToyEnv(faults=BAD["faults"]), **SMALL), Updates()
    model.set_logger(configure(str(tmp_path), ["csv"]))
    with pytest.warns(RuntimeWarning, match="update was skipped"):
        model.learn(512, callback=updates)
    with (tmp_path / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [found.get("train/status") for found in updates.found] == [None, "ok", "rollout not finite", "ok"]
    assert updates.found[2] == {"train/status": Status.BAD_ROLLOUT}
    for row, update in zip(rows[1:], updates.found[1:], strict=True):
        status = Status(int(row["train/status"]))
        assert status is update["train/status"] and status.meaning and status.remedy
        if status is Status.OK:
            assert float(row["train/kl_max"]) == pytest.approx(update["train/kl_max"])


def test_codes_are_distinct_and_do_not_move() -> None:
    """Files written today are read tomorrow."""
    assert [status.value for status in sorted(Status, key=lambda status: status.code)] == [
        *("ok", "iteration limit", "zero gradient", "not finite", "curvature not positive", "no acceptable candidate"),
        *("rollout not finite", "fit moves the policy", "nothing to fit"),
    ]
    assert [Status(code).code for code in range(len(Status))] == list(range(len(Status)))
    with pytest.raises(ValueError, match="99"):
        Status(99)
