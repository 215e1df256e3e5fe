"""The settings files for RL Zoo: what they cover, that TRPO takes them, and that they are RL Zoo's where they say so."""

import inspect
import re
from pathlib import Path

import gymnasium as gym
import pytest
import rl_zoo3
import sb3_contrib
import yaml
from stable_baselines3.common.envs import FakeImageEnv

import sb3_trpo
from sb3_trpo import TRPO, hyperparams
from sb3_trpo.zoo.experiment import EvaluatedExperiment

FOLDER = Path(sb3_trpo.__file__).parent / "hyperparams"
TEXT = (FOLDER / "trpo.yml").read_text(encoding="utf-8")
SETTINGS = yaml.safe_load(TEXT)
VINE = yaml.safe_load((FOLDER / "trpo_vine.yml").read_text(encoding="utf-8"))
RL_ZOOS = yaml.safe_load((Path(rl_zoo3.__file__).parent / "hyperparams" / "trpo.yml").read_text(encoding="utf-8"))
DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(sb3_contrib.TRPO.__init__).parameters.items()}

CONVERTED = re.findall(r"^# RL Zoo's (\S+) .*converted: d = (\d+)\n(\S+?):", TEXT, re.MULTILINE)
CHANGED = re.findall(r"^# RL Zoo's (\S+) .*converted for d = \d+, but with", TEXT, re.MULTILINE)
TAKEN_OVER = re.findall(r"^# Tuned by RL Zoo; .*nothing to convert\n(\S+?):", TEXT, re.MULTILINE)

# Joint motors of pybullet's robots (pybullet_envs_gymnasium 0.6.0; the Minitaurs are left out there and have eight)
BULLET = {"HalfCheetah": 6, "Ant": 8, "Walker2D": 6, "Hopper": 3, "Reacher": 2, "Humanoid": 17, "Minitaur": 8}
BULLET |= {"InvertedDoublePendulum": 1, "InvertedPendulumSwingup": 1}

# What RL Zoo takes out of an entry before it calls the constructor
ZOO_KEYS = {"n_envs", "n_timesteps", "normalize", "frame_stack", "env_wrapper", "vec_env_wrapper", "env_kwargs"}
ZOO_KEYS |= {"monitor_kwargs", "callback"}


@pytest.mark.parametrize("settings, entry", [*((SETTINGS, entry) for entry in SETTINGS), *((VINE, entry) for entry in VINE)])
def test_settings_are_arguments_of_the_constructor(settings, entry):
    arguments = {name: value for name, value in settings[entry].items() if name not in ZOO_KEYS}
    assert set(arguments) <= set(inspect.signature(TRPO.__init__).parameters)
    assert settings[entry]["n_timesteps"] >= 1
    for name in ("policy_kwargs", "rollout_buffer_kwargs"):
        if isinstance(arguments.get(name), str):
            arguments.pop(name)  # code for RL Zoo
    if isinstance(arguments.get("learning_rate"), str):
        assert re.fullmatch(r"lin_[\d.e-]+", arguments.pop("learning_rate"))
    env = FakeImageEnv() if "Cnn" in arguments["policy"] else gym.make("Pendulum-v1")
    TRPO(env=env, device="cpu", **arguments)


def test_covers_rl_zoos_environments_mujoco_and_atari():
    mujoco = {name for name, spec in gym.registry.items() if "envs.mujoco" in str(spec.entry_point) and spec.version == 5}
    assert len(mujoco) == 11
    assert set(SETTINGS) >= {*RL_ZOOS, *mujoco, "atari"}


def test_every_entry_of_rl_zoo_is_taken_over_converted_or_changed():
    assert {theirs for theirs, _, ours in CONVERTED if theirs == ours} | {*CHANGED, *TAKEN_OVER, "default"} >= set(RL_ZOOS)
    assert SETTINGS["default"] == RL_ZOOS["default"]


@pytest.mark.parametrize("theirs, dimensions, ours", CONVERTED)
def test_converted_settings_are_rl_zoos_times_the_number_of_action_dimensions(theirs, dimensions, ours):
    robot = re.match(r"(\w+)Bullet", ours)
    d = BULLET[robot[1]] if robot else gym.make(ours).action_space.shape[0]
    assert d == int(dimensions)
    expected = {**DEFAULTS, **RL_ZOOS[theirs]}
    for name in ("target_kl", "cg_damping"):
        expected[name] = pytest.approx(expected[name] * d)
    assert {**DEFAULTS, **SETTINGS[ours]} == expected


@pytest.mark.parametrize("entry", TAKEN_OVER)
def test_other_tuned_settings_are_rl_zoos(entry):
    assert {**DEFAULTS, **SETTINGS[entry]} == {**DEFAULTS, **RL_ZOOS[entry]}
    space = gym.make(entry).action_space
    assert not isinstance(space, gym.spaces.Box) or space.shape == (1,)


def test_the_vines_settings_are_the_others_with_the_vine():
    assert {name: {**SETTINGS[name], "sampling": "vine"} for name in VINE} == VINE
    missing = {name for name in SETTINGS if name not in VINE}
    assert all("Bullet" in name or "box2d" in str(gym.spec(name).entry_point) for name in missing)


def test_rl_zoo_can_take_the_settings_from_the_module():
    assert hyperparams.hyperparams == SETTINGS


def test_falling_settings_become_functions():
    read = EvaluatedExperiment._preprocess_schedules({"target_kl": "lin_0.05", "ent_coef": "lin_0.01", "cg_damping": 0.1})
    assert [read["target_kl"](progress) for progress in (1.0, 0.5, 0.0)] == [0.05, 0.025, 0.0]
    assert read["ent_coef"](1.0) == 0.01 and read["cg_damping"] == 0.1
