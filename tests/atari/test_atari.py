"""The paper's Atari experiment: its network counted, its pictures and actions against SB3's and ALE's own, and its clones."""

from typing import Any

import ale_py
import cv2
import gymnasium as gym
import numpy as np
import pytest
import rl_zoo3.utils
import torch as th
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack

from sb3_trpo import TRPO
from sb3_trpo.atari import FactoredActions, PaperAtariWrapper, PaperCnn, PaperCnnPolicy
from sb3_trpo.atari.frames import GreyImages
from sb3_trpo.hyperparams import hyperparams
from sb3_trpo.policy import Actor
from sb3_trpo.simulators import check_clone

gym.register_envs(ale_py)

GAMES = ("BeamRider", "Breakout", "Enduro", "Pong", "Qbert", "Seaquest", "SpaceInvaders")


def make(game: str, **kwargs: Any) -> gym.Env:
    return gym.make(f"{game}NoFrameskip-v4", **kwargs)


def paper(game: str = "Pong", **kwargs: Any) -> gym.Env:
    return FactoredActions(PaperAtariWrapper(make(game, obs_type="grayscale"), **kwargs))


def test_the_papers_policy_has_33500_parameters() -> None:
    """Section 8.2: 4×52×40 in, 8 factored outputs. By hand: 1,040 + 4,112 + 1,408·20 + 20 + 20·8 + 8."""
    env = VecFrameStack(make_vec_env(lambda: FactoredActions(PaperAtariWrapper(make("Pong"))), 1), 4)
    model = TRPO("PaperCnnPolicy", env, n_steps=128, device="cpu")
    assert model.observation_space.shape == (4, 52, 40)
    observations = th.zeros(1, 4, 52, 40, dtype=th.uint8)
    actor = Actor(model.policy, observations)
    assert len(actor.theta) == 1_040 + 4_112 + 28_160 + 20 + 160 + 8 == 33_500
    critic = list(actor.critic_parameters(observations).values())
    assert sum(parameter.numel() for parameter in critic) == 33_500 - 168 + 21


def test_pictures_are_those_of_sb3_at_another_size() -> None:
    """At 84×84 SB3's AtariWrapper gives the same observations, rewards and ends of episodes, resets included."""
    ours, theirs = PaperAtariWrapper(make("Breakout"), 84, 84), AtariWrapper(make("Breakout"))
    rng = np.random.default_rng(0)
    assert np.array_equal(ours.reset(seed=1)[0], theirs.reset(seed=1)[0])
    for _ in range(300):
        action = int(rng.integers(4))
        (obs, *outcome, _), (other, *expected, _) = ours.step(action), theirs.step(action)
        assert np.array_equal(obs, other) and outcome == expected
        if any(outcome[1:]):
            assert np.array_equal(ours.reset()[0], theirs.reset()[0])


@pytest.mark.parametrize("height, width", [(52, 40), (128, 128)])
def test_grey_screens_are_scaled_as_they_are(height: int, width: int) -> None:
    """A picture is ALE's own grey screen, scaled by area; made from a colour screen it is the same."""
    env = GreyImages(make("Pong", obs_type="grayscale"), height, width)
    picture, _ = env.reset(seed=0)
    screen = env.unwrapped.ale.getScreenGrayscale()
    assert picture.shape == env.observation_space.shape == (height, width, 1) and picture.dtype == np.uint8
    assert np.array_equal(picture[..., 0], cv2.resize(screen, (width, height), interpolation=cv2.INTER_AREA))
    assert np.array_equal(picture, GreyImages(make("Pong"), height, width).reset(seed=0)[0])
    assert PaperAtariWrapper(make("Pong"), height, width).observation_space == env.observation_space


@pytest.mark.parametrize("game", GAMES)
def test_factored_actions_are_the_games_own(game: str) -> None:
    """Every action of the game is reached by its own combination, and every combination reaches one that is part of it."""
    env = FactoredActions(make(game))
    meanings = env.unwrapped.get_action_meanings()
    reached = set()
    for h, horizontal in enumerate(("", "RIGHT", "LEFT")):
        for v, vertical in enumerate(("", "UP", "DOWN")):
            for b, button in enumerate(("", "FIRE")):
                name = meanings[env.action(np.array([h, v, b]))]
                wanted = vertical + horizontal + button or "NOOP"
                assert name == wanted if wanted in meanings else (name == "NOOP" or set(name) <= set(wanted))
                reached.add(name)
    assert reached == set(meanings)
    assert env.action_space == spaces.MultiDiscrete([3, 3, 2])


@pytest.mark.parametrize("game", ["Pong", "Qbert"])
def test_states_are_copied_exactly(game: str) -> None:
    report = check_clone(paper(game, action_repeat_probability=0.25), n_steps=100)
    assert report.exact, report


def test_vine_and_single_path_learn_from_it() -> None:
    """Both samplings make an update that is within the trust region."""
    env = VecFrameStack(make_vec_env(paper, 2, seed=0), 4)
    for sampling in ("single_path", "vine"):
        kwargs = {"n_states": 4, "branch_length": 3} if sampling == "vine" else None
        settings = {"n_steps": 16, "batch_size": 32, "seed": 0, "device": "cpu", "n_critic_updates": 1}
        model = TRPO("PaperCnnPolicy", env, sampling=sampling, vine_kwargs=kwargs, **settings).learn(32)
        log = model.last_update
        assert log["train/status"] == "ok" and 0.0 < log["train/kl_divergence_loss"] <= 0.01


def test_settings_build_it_by_name() -> None:
    """RL Zoo finds the wrappers of the entry "atari" by their names, and the policy is an alias of TRPO's."""
    entry = hyperparams["atari"]
    wrapper = rl_zoo3.utils.get_wrapper_class(entry)
    env = wrapper(make("Seaquest"))
    assert env.observation_space.shape == (52, 40, 1) and env.action_space == spaces.MultiDiscrete([3, 3, 2])
    assert entry["policy"] in TRPO.policy_aliases and entry["frame_stack"] == 4


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="NoFrameskip"):
        PaperAtariWrapper(gym.make("ALE/Pong-v5"))
    for env in (gym.make("CartPole-v1"), gym.make("PongNoFrameskip-v4", obs_type="ram")):
        with pytest.raises(ValueError, match="no screen"):
            PaperAtariWrapper(env)
    with pytest.raises(ValueError, match="at least one pixel"):
        PaperAtariWrapper(make("Pong"), height=0)
    for given in ({"frame_skip": 0}, {"action_repeat_probability": 1.0}):
        with pytest.raises(ValueError, match="at least one frame"):
            PaperAtariWrapper(make("Pong"), **given)
    with pytest.raises(ValueError, match=r"FactoredActions\(PaperAtariWrapper\(env\)\)"):
        PaperAtariWrapper(FactoredActions(make("Pong")))
    with pytest.raises(ValueError, match="joystick"):
        FactoredActions(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="PaperAtariWrapper"):
        TRPO("PaperCnnPolicy", "CartPole-v1")
    with pytest.raises(ValueError, match="10×10"):
        PaperCnn(spaces.Box(0, 255, (4, 9, 20), dtype=np.uint8))


def test_pictures_of_floats_are_taken_as_they_are() -> None:
    """With normalize_images=False, as by SB3's CnnPolicy."""
    space = spaces.Box(0.0, 1.0, (4, 52, 40), dtype=np.float32)
    policy = PaperCnnPolicy(space, spaces.Discrete(3), lambda _: 1e-3, normalize_images=False)
    assert policy.predict(space.sample())[0] in range(3)
    with pytest.raises(ValueError, match="images of bytes"):
        PaperCnnPolicy(space, spaces.Discrete(3), lambda _: 1e-3)
