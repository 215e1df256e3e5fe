"""The preprocessing of Mnih et al. (2013), which the paper follows, with images of any size."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import (
    ClipRewardEnv,
    EpisodicLifeEnv,
    FireResetEnv,
    MaxAndSkipEnv,
    NoopResetEnv,
    StickyActionEnv,
)

try:
    import cv2
except ImportError:
    cv2 = None  # type: ignore[assignment]


class GreyImages(gym.ObservationWrapper[np.ndarray, int, np.ndarray]):
    """Screens as grey images ``[height, width, 1]`` of bytes, every pixel the mean of the area it stands for.

    :param env: gives screens in colour, or grey ones already (``obs_type="grayscale"``), which saves the emulator's Python
        side a tenth of its time
    :param height: of an image, pixels
    :param width: of an image, pixels
    """

    def __init__(self, env: gym.Env, height: int, width: int):
        super().__init__(env)
        if cv2 is None:
            raise ImportError('Images are scaled by OpenCV: pip install "sb3_trpo[atari]"')
        self.observation_space = spaces.Box(0, 255, (height, width, 1), dtype=np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(observation, cv2.COLOR_RGB2GRAY) if observation.ndim == 3 else observation
        height, width, _ = self.observation_space.shape  # type: ignore[misc]
        return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)[:, :, None]


class PaperAtariWrapper(gym.Wrapper[np.ndarray, int, np.ndarray, int]):
    """SB3's ``AtariWrapper`` with a height and a width: by default the 52×40 grey pixels of the paper's figure 3.

    The paper says "preprocessed following the protocol in Mnih et al. (2013)" and gives the input as 4×52×40. A screen of
    210×160 is a quarter of that in each direction, so here it is made grey and averaged down as a whole, where Mnih et al.
    crop 84×84. Four frames are stacked outside (``frame_stack: 4`` in RL Zoo, or SB3's ``VecFrameStack``). What the paper
    leaves open is as in SB3: up to 30 no-ops and FIRE after a reset, every action held for four frames of which the last
    two are merged, rewards clipped to their sign, and an episode for each life.

    :param env: an Atari environment without frame skip (``…NoFrameskip-v4``, or ``ALE/…-v5`` with ``frameskip=1``), whose
        screens are in colour or, faster, grey (``obs_type="grayscale"``)
    :param height: of an image, pixels; 128 by 128 is what some descriptions of the paper have
    :param width: of an image, pixels
    :param noop_max: most no-ops after a reset, 0 for none
    :param frame_skip: frames an action is held, at least 1
    :param terminal_on_life_loss: whether an episode is a life (resets go on with the next one)
    :param clip_reward: whether a reward is its sign
    :param action_repeat_probability: with which SB3's ``StickyActionEnv`` repeats the action before, in [0, 1)
    :raises ValueError: for an environment that shows no Atari screen, skips frames itself, or has actions that are no single
        indices; also for an image or a frame skip smaller than 1, and for a probability that is not in [0, 1)
    """

    def __init__(
        self,
        env: gym.Env,
        height: int = 52,
        width: int = 40,
        noop_max: int = 30,
        frame_skip: int = 4,
        terminal_on_life_loss: bool = True,
        clip_reward: bool = True,
        action_repeat_probability: float = 0.0,
    ):
        if height < 1 or width < 1:
            raise ValueError(f"height={height}, width={width}: an image has at least one pixel in each direction.")
        if frame_skip < 1 or not 0.0 <= action_repeat_probability < 1.0:
            raise ValueError(
                f"frame_skip={frame_skip}, action_repeat_probability={action_repeat_probability}: an action is held for at "
                "least one frame, and repeated with a probability of at least 0 and less than 1."
            )
        if not hasattr(env.unwrapped, "get_action_meanings") or len(env.observation_space.shape or ()) < 2:
            raise ValueError(f"{env} shows no screen of an Atari game: make it from ale_py, with obs_type rgb or grayscale.")
        if not isinstance(env.action_space, spaces.Discrete):
            raise ValueError(
                f"The actions are in {env.action_space}, not single indices: put PaperAtariWrapper inside, and wrappers of "
                "actions around it, as in FactoredActions(PaperAtariWrapper(env))."
            )
        if getattr(env.unwrapped, "_frameskip", 1) != 1:
            raise ValueError(
                f"{env} skips frames itself, which this wrapper is there to do: make it with frameskip=1, or take the "
                "game's NoFrameskip-v4."
            )
        if action_repeat_probability > 0.0:
            env = StickyActionEnv(env, action_repeat_probability)
        if noop_max > 0:
            env = NoopResetEnv(env, noop_max)
        if frame_skip > 1:
            env = MaxAndSkipEnv(env, frame_skip)
        if terminal_on_life_loss:
            env = EpisodicLifeEnv(env)
        if "FIRE" in env.unwrapped.get_action_meanings():  # type: ignore[attr-defined]
            env = FireResetEnv(env)
        env = GreyImages(env, height, width)
        super().__init__(ClipRewardEnv(env) if clip_reward else env)
