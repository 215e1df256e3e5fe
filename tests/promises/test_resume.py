"""A run that was left and resumed ends in what it would have ended in: parameters, statistics, log and evaluations."""

from pathlib import Path

import pytest

from tests.resumable_runs import KINDS, Left, differences, outcome, train

SLOW = ("pong", "workers", "vine in processes")  # test_kills has these, if it is asked for all kinds


@pytest.mark.parametrize("name", [name for name in KINDS if name not in SLOW])
def test_a_resumed_run_ends_as_if_it_had_not_been_left(name: str, tmp_path: Path) -> None:
    """Left in the middle of the third rollout, and once more in the second one after that."""
    expected = outcome(train(name, tmp_path / "whole"), tmp_path / "whole")
    for rollouts in (2, 1):
        with pytest.raises(Left):
            train(name, tmp_path / "left", rollouts)
    model = train(name, tmp_path / "left")
    assert differences(expected, outcome(model, tmp_path / "left")) == []
