"""Settings that follow the remaining progress."""

from typing import Any

import pytest
from stable_baselines3.common.utils import LinearSchedule

from sb3_trpo import TRPO
from tests.toys import ToyEnv, parameters, same

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


@pytest.mark.parametrize(("name", "constant"), [("target_kl", 0.02), ("cg_damping", 0.2), ("ent_coef", 0.1)])
def test_each_update_uses_its_own_value(name: str, constant: float) -> None:
    """A schedule of two stages learns what a constant does that is changed by hand between them."""
    stages = TRPO("MlpPolicy", ToyEnv(), **SMALL, **{name: lambda progress: constant if progress > 0.4 else constant / 10})
    stages.learn(64)
    by_hand = TRPO("MlpPolicy", ToyEnv(), **SMALL, **{name: constant}).learn(32)
    setattr(by_hand, name, constant / 10)
    by_hand.learn(32, reset_num_timesteps=False)
    unchanged = TRPO("MlpPolicy", ToyEnv(), **SMALL, **{name: constant}).learn(64)
    assert same(parameters(stages), parameters(by_hand))
    assert not same(parameters(stages), parameters(unchanged))
    assert stages.logger.name_to_value[f"train/{name}"] == constant / 10


def test_a_bound_that_has_fallen_to_zero_leaves_the_policy() -> None:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, target_kl=LinearSchedule(0.01, 0.0, 1.0)).learn(32)
    assert model.logger.name_to_value["train/kl_divergence_loss"] == 0.0
    assert model.logger.name_to_value["train/target_kl"] == 0.0


def test_saved_and_loaded(tmp_path: Any) -> None:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, target_kl=LinearSchedule(0.05, 0.01, 1.0))
    model.save(tmp_path / "model")
    learned = parameters(model.learn(96))
    assert same(learned, parameters(TRPO.load(tmp_path / "model", ToyEnv()).learn(96)))


def test_a_value_out_of_range_stops_the_update_that_would_use_it() -> None:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, target_kl=lambda progress: progress - 0.5)
    before = parameters(model)
    with pytest.raises(ValueError, match=r"target_kl\(0\)=-0.5 is outside \[0, inf\)"):
        model.learn(32)
    assert same(before, parameters(model))
