"""Classes that a user's script defines, in the processes of a SubprocVecEnv and of the vine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sb3_trpo

SCRIPT = Path(__file__).with_name("own_classes.py")


def outcome(start_method: str, n_workers: int) -> str:
    paths = [str(Path(sb3_trpo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, start_method, str(n_workers)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def expected() -> str:
    """What one process gives."""
    return outcome("none", 0)


@pytest.mark.parametrize(("start_method", "n_workers"), [("none", 1), ("fork", 1), ("spawn", 0)])
def test_a_scripts_own_classes_are_the_same_in_all_processes(start_method: str, n_workers: int, expected: str) -> None:
    """Truth: the same update, bit for bit, as with everything in one process."""
    assert outcome(start_method, n_workers) == expected
