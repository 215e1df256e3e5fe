"""Loading a model: files of other algorithms, settings that are unknown, and what sb3-contrib's settings mean here."""

import io
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import sb3_contrib
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC

from sb3_trpo import TRPO
from tests.toys import ToyEnv, parameters, same

SMALL: dict[str, Any] = {"n_steps": 32, "device": "cpu", "seed": 0}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    TRPO("MlpPolicy", ToyEnv(), batch_size=32, **SMALL).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"targt_kl": 0.1}, "no argument targt_kl=0.1: did you mean target_kl?"),
        ({"clip_range": 0.2}, "no argument clip_range=0.2: TRPO bounds"),
        ({"vf_coef": 0.5}, "no argument vf_coef=0.5"),  # SB3 saves it with every on-policy algorithm
        ({"max_kl": 0.1, "lam": 0.9}, "max_kl=0.1: it is target_kl here.\nTRPO has no argument lam=0.9: it is gae_lambda"),
        ({"policy": "MlpPolicy"}, "policy has no effect in load"),
        ({"_init_setup_model": False}, "_init_setup_model has no effect in load"),
    ],
)
def test_settings_without_an_effect(changes: dict[str, Any], words: str, saved: Path) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        TRPO.load(saved, **changes)


@pytest.mark.parametrize("form", ["path", "text", "file"])
def test_settings_with_an_effect(form: str, saved: Path) -> None:
    """The constructor's names, an attribute's, and one that is saved under another name."""
    archive = Path(f"{saved}.zip")
    path: Any = {"path": saved, "text": str(archive), "file": io.BytesIO(archive.read_bytes())}[form]
    model = TRPO.load(path, ToyEnv(), target_kl=0.02, sampling="single_path", stats_window_size=7, num_timesteps=64)
    model.learn(32, reset_num_timesteps=False)
    assert (model.target_kl, model.num_timesteps) == (0.02, 96)
    assert model.ep_info_buffer is not None and model.ep_info_buffer.maxlen == 7


def test_a_subclass_with_settings_of_its_own(tmp_path: Path) -> None:
    class Mine(TRPO):
        def __init__(self, *args: Any, extra: int = 0, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.extra = extra

    Mine("MlpPolicy", ToyEnv(), batch_size=32, **SMALL).save(tmp_path / "model")
    model = Mine.load(tmp_path / "model", extra=3, target_kl=0.02)
    assert (model.extra, model.target_kl) == (3, 0.02)
    with pytest.raises(TypeError, match="exta"):
        Mine.load(tmp_path / "model", exta=3)


@pytest.mark.parametrize("algorithm", [PPO, A2C, SAC, sb3_contrib.RecurrentPPO, sb3_contrib.MaskablePPO, sb3_contrib.QRDQN])
def test_files_of_other_algorithms(algorithm: Any, tmp_path: Path) -> None:
    name = "MlpLstmPolicy" if algorithm is sb3_contrib.RecurrentPPO else "MlpPolicy"
    discrete = algorithm in (sb3_contrib.QRDQN, sb3_contrib.MaskablePPO)
    space = spaces.Discrete(3) if discrete else spaces.Box(-1.0, 1.0, (3,))
    small = {"buffer_size": 10} if algorithm in (SAC, sb3_contrib.QRDQN) else {}
    algorithm(name, ToyEnv(space), device="cpu", **small).save(tmp_path / "model")
    of_ppo = "PPO" in algorithm.__name__
    told = (
        rf"model was saved by {algorithm.__name__ if of_ppo else 'another algorithm'}, not by TRPO: it has no .*cg_max_steps"
    )
    advice = f".* Load it with .*make a sb3_trpo.{algorithm.__name__.replace('PPO', 'TRPO')} with" if of_ppo else ""
    with pytest.raises(ValueError, match=told + advice):
        TRPO.load(tmp_path / "model")


def test_a_ppo_models_networks_can_be_taken_over(tmp_path: Path) -> None:
    """As the message says."""
    ppo = PPO("MlpPolicy", ToyEnv(), batch_size=32, **SMALL).learn(32)
    ppo.save(tmp_path / "model")
    model = TRPO("MlpPolicy", ToyEnv(), batch_size=32, **SMALL)
    model.set_parameters(tmp_path / "model", device="cpu")
    assert same(parameters(model), parameters(ppo))
    model.learn(32)
    assert not same(parameters(model), parameters(ppo))


def test_what_is_no_model(tmp_path: Path) -> None:
    """SB3's own errors."""
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(ValueError, match="wasn't a zip-file"):
        TRPO.load(tmp_path / "text.zip")
    with pytest.raises(FileNotFoundError):
        TRPO.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("space", "dimensions"),
    [
        (spaces.Box(-1.0, 1.0, (3,)), 3),
        (spaces.MultiBinary(4), 4),
        (spaces.Box(-1.0, 1.0, (1,)), 1),
        (spaces.Discrete(3), 1),
        (spaces.MultiDiscrete([2, 3]), 1),
    ],
)
def test_sb3_contribs_target_kl(space: spaces.Space, dimensions: int, tmp_path: Path) -> None:
    """Told once, with the settings to give; given these, nothing is told."""
    sb3_contrib.TRPO("MlpPolicy", ToyEnv(space), batch_size=32, **SMALL).save(tmp_path / "model")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TRPO.load(tmp_path / "model", ToyEnv(space))
    told = [str(warning.message) for warning in caught if "saved by sb3_contrib.TRPO" in str(warning.message)]
    if dimensions == 1:
        assert not told
        return
    (text,) = told
    assert f"over the {dimensions} action dimensions" in text
    found = re.search(r"target_kl=(\S+), cg_damping=(\S+)\)\.$", text)
    assert found is not None
    given = {"target_kl": float(found[1]), "cg_damping": float(found[2])}
    assert given == pytest.approx({"target_kl": 0.01 * dimensions, "cg_damping": 0.1 * dimensions})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TRPO.load(tmp_path / "model", ToyEnv(space), **given)


def test_our_own_files_are_not_taken_for_sb3_contribs(saved: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert th.equal(TRPO.load(saved).policy.log_std, th.zeros(3))
