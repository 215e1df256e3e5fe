"""A run that was left and resumed ends in what it would have ended in: parameters, statistics, log and evaluations."""

import subprocess
import sys
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


SCRIPT = """
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import FlattenExtractor
from sb3_trpo import TRPO
from sb3_trpo.checkpoints import ExactCheckpoint, has_checkpoints

class Extractor(FlattenExtractor):
    pass

settings = {"n_steps": 32, "batch_size": 32, "seed": 0, "policy_kwargs": {"features_extractor_class": Extractor}}
env = make_vec_env("CartPole-v1", 2, seed=0)
model = TRPO.resume("runs", env, **settings) if has_checkpoints("runs") else TRPO("MlpPolicy", env, **settings)
print(model.num_timesteps)
model.learn(128, callback=ExactCheckpoint("runs", every_steps=64))
"""


def test_a_script_goes_on_with_classes_of_its_own(tmp_path: Path) -> None:
    """Each process makes the class anew: it counts as the same."""
    for steps in (0, 64):
        command = [sys.executable, "-c", SCRIPT]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout.split() == [str(steps)]
