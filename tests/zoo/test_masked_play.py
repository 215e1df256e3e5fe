"""The variants on the command line: trained with settings of their own, evaluated, played and recorded, with masks."""

import inspect
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER

import sb3_trpo
import sb3_trpo.zoo
from sb3_trpo import TRPO, MaskableRecurrentTRPO, MaskableTRPO, RecurrentTRPO
from tests.masked import SPACES, MaskedToy
from tests.test_hyperparams import ZOO_KEYS
from tests.zoo.test_command_line import command_line
from tests.zoo.test_search_space import study

FOLDER = Path(sb3_trpo.__file__).parent / "hyperparams"
VARIANTS: dict[str, Any] = {"trpo_mask": MaskableTRPO, "trpo_lstm": RecurrentTRPO, "trpo_mask_lstm": MaskableRecurrentTRPO}
REGISTER = """
import gymnasium as gym
from tests.masked import SPACES, MaskedToy
gym.register("MaskedToy-v0", lambda render_mode=None: MaskedToy(SPACES["discrete"]), max_episode_steps=10)
"""


@pytest.mark.parametrize("algo", ["trpo_lstm", "trpo_mask_lstm"])
def test_trains_evaluates_plays_and_records(algo: str, tmp_path: Path) -> None:
    """The masked environment, which has no pictures to record, refuses what is impossible."""
    env = "CartPoleNoVel-v1" if algo == "trpo_lstm" else "MaskedToy-v0"
    (tmp_path / "masked_envs.py").write_text(REGISTER)
    options: list[Any] = ["--algo", algo, "--env", env, "--gym-packages", "masked_envs"]
    settings = ["n_steps:64", "batch_size:64", "n_envs:2"]
    train = ["-n", 128, "--eval-freq", 64, "--num-threads", 1, "--device", "cpu", "--eval-episodes", 2]
    finished = command_line("train", *options, *train, "-params", *settings, folder=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Final evaluation: mean reward" in finished.stdout and f"{algo}.yml" in finished.stdout
    model = VARIANTS[algo].load(tmp_path / "logs" / algo / f"{env}_1" / f"{env}.zip", device="cpu")
    assert model.num_timesteps == 128 and type(model) is VARIANTS[algo]
    if algo == "trpo_mask_lstm":
        finished = command_line("enjoy", *options, "--no-render", "-n", 30, folder=tmp_path)
    else:
        finished = command_line("record_video", *options, "-n", 10, folder=tmp_path)
        assert list((tmp_path / "logs" / algo / f"{env}_1" / "videos").glob("*.mp4"))
    assert finished.returncode == 0, finished.stdout + finished.stderr


WITHOUT_ENV = ("default", "popgym-RepeatPreviousEasy-v0")  # POPGym is not installed here


@pytest.mark.parametrize("algo", list(VARIANTS))
def test_settings_are_arguments_of_the_constructor(algo: str) -> None:
    for entry, settings in yaml.safe_load((FOLDER / f"{algo}.yml").read_text(encoding="utf-8")).items():
        arguments = {name: value for name, value in settings.items() if name not in ZOO_KEYS}
        assert set(arguments) <= set(inspect.signature(TRPO.__init__).parameters)
        assert settings["n_timesteps"] >= 1
        for name in ("learning_rate", "target_kl"):
            if isinstance(arguments.get(name), str):
                arguments[name] = float(arguments[name].removeprefix("lin_"))  # RL Zoo's way to write a linear schedule
        if "policy_kwargs" in arguments:
            arguments["policy_kwargs"] = eval(arguments["policy_kwargs"])
        env = MaskedToy(SPACES["discrete"]) if entry in WITHOUT_ENV else gym.make(entry)
        VARIANTS[algo](env=env, device="cpu", **arguments)


@pytest.mark.parametrize("algo", list(VARIANTS))
def test_candidates_are_settings_of_the_variant(algo: str) -> None:
    made = study()
    for trial in (made.ask() for _ in range(5)):
        candidate = HYPERPARAMS_SAMPLER[algo](trial, 0, 1, {})
        policy = VARIANTS[algo].policy_aliases
        VARIANTS[algo](next(iter(policy)), MaskedToy(SPACES["discrete"]), device="cpu", **candidate)
        assert HYPERPARAMS_CONVERTER[algo](trial.params) == candidate
        assert math.isfinite(candidate["target_kl"]) and ("lstm_hidden_size" in candidate["policy_kwargs"]) == ("lstm" in algo)
