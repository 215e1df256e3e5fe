"""MuJoCo's tasks, five of which the comparison has in detail, its methods, and what the studies of them have in common."""

from dataclasses import dataclass
from functools import cache

import gymnasium as gym

TASKS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Swimmer-v5", "Ant-v5")
OTHER_TASKS = (
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Reacher-v5",
    "Pusher-v5",
    "Humanoid-v5",
    "HumanoidStandup-v5",
    "Ant-v4",  # contact forces are neither observed nor charged for, as in most published tables
)
STEPS = 1_000_000
FINAL_EPISODES = 30


@dataclass(frozen=True)
class Method:
    """One of the comparison's methods.

    :param label: in tables and pictures
    :param color: in pictures
    :param algo: of ``ALGORITHMS``
    :param seeds: how many runs it has on each task, at least
    :param searched: with the settings that the search of ``tuning`` has found, in place of those of a file
    """

    label: str
    color: str
    algo: str
    seeds: int = 10
    searched: bool = False


METHODS = {
    "sb3_trpo": Method("sb3_trpo", "tab:blue", "sb3_trpo"),
    "sb3_contrib": Method("sb3-contrib TRPO", "tab:orange", "sb3_contrib"),
    "ppo": Method("SB3 PPO", "tab:green", "ppo", seeds=5),
    "ppo_tuned": Method("SB3 PPO, tuned here", "tab:red", "ppo", searched=True),
}
OTHERS = tuple(method for method in METHODS if method != "sb3_trpo")


@cache
def action_dimensions(env_id: str) -> int:
    return int(gym.make(env_id).action_space.shape[0])  # type: ignore[index]
