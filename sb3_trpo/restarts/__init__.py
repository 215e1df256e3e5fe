"""Episodes that begin in saved states: for any algorithm of SB3's, in any VecEnv.

``starts`` is what an episode can begin with, ``sources`` say which, ``backward`` is the source that goes back along one
trajectory, ``cells`` tell states apart, ``env`` is the wrapper, ``exploration`` finds trajectories without a policy, and
``schedule`` is a callback that changes how many episodes begin in a saved state.
"""

from sb3_trpo.restarts.backward import Backward
from sb3_trpo.restarts.cells import DownscaledImage, Grid, hashed
from sb3_trpo.restarts.env import RestartEnv
from sb3_trpo.restarts.exploration import Exploration, explore
from sb3_trpo.restarts.schedule import RestartSchedule
from sb3_trpo.restarts.sources import RareFirst, Source, Visited
from sb3_trpo.restarts.starts import Start, Trajectory, Visit, Way, record

__all__ = [
    "Backward",
    "DownscaledImage",
    "Exploration",
    "Grid",
    "RareFirst",
    "RestartEnv",
    "RestartSchedule",
    "Source",
    "Start",
    "Trajectory",
    "Visit",
    "Visited",
    "Way",
    "explore",
    "hashed",
    "record",
]
