"""Play one game with a model that the study ``atari`` has trained, and keep the pictures.

    python -m benchmarks.atari.episode --game Pong --variant single_path --to pong.gif

Every picture is the emulator's own screen after an action; the file's suffix says what is written (gif, mp4).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from moviepy import ImageSequenceClip
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed

from benchmarks.atari.games import NAMES, environments
from benchmarks.atari.progress import unfinished
from benchmarks.atari.study import METHODS
from benchmarks.common import Cell

ACTIONS_PER_SECOND = 15  # 60 frames, of which every action holds four


def play(model: OnPolicyAlgorithm, game: str, seed: int) -> tuple[list[np.ndarray], float]:
    """Screens of one whole game, all lives, and its score."""
    set_random_seed(seed)
    env = environments(game, 1, seed, render_mode="rgb_array")
    obs: Any = env.reset()
    screens: list[np.ndarray] = []
    while True:
        screens.append(env.render())  # type: ignore[arg-type]
        actions, _ = model.predict(obs.transpose(0, 3, 1, 2), deterministic=False)
        obs, _, _, infos = env.step(actions)
        if "episode" in infos[0]:
            return screens, infos[0]["episode"]["r"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", choices=list(NAMES), required=True)
    parser.add_argument("--variant", choices=list(METHODS), required=True)
    parser.add_argument("--trained-with", type=int, default=0, metavar="SEED")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=2, help="actions between two pictures")
    args = parser.parse_args()
    th.set_num_threads(1)
    model = METHODS[args.variant].algorithm.load(unfinished(Cell(args.game, args.variant, args.trained_with)), device="cpu")
    screens, score = play(model, args.game, args.seed)
    print(f"{args.game}: {score:g} points in {len(screens):,} actions")
    clip = ImageSequenceClip(screens[:: args.every], fps=ACTIONS_PER_SECOND)
    if args.to.suffix == ".gif":
        clip.write_gif(args.to, logger=None)
    else:
        clip.write_videofile(str(args.to), logger=None)


if __name__ == "__main__":
    main()
