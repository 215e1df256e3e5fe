"""MuJoCo's tasks, the comparison's five among them, and what the studies of them have in common."""

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
)
STEPS = 1_000_000
FINAL_EPISODES = 30
METHODS = {"sb3_trpo": "sb3_trpo", "sb3_contrib": "sb3-contrib TRPO", "ppo": "SB3 PPO"}
COLORS = {"sb3_trpo": "tab:blue", "sb3_contrib": "tab:orange", "ppo": "tab:green"}


@cache
def action_dimensions(env_id: str) -> int:
    return int(gym.make(env_id).action_space.shape[0])  # type: ignore[index]
