"""The vine and what it stands on: variance, speed, a picture, and whether simulators' states are exact."""
