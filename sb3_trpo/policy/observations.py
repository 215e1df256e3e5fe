"""Batches of observations: tensors, or dicts of tensors."""

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs


def select(observations: PyTorchObs, rows: slice | th.Tensor) -> PyTorchObs:
    """Rows of a batch; a slice gives views, except where frames are kept once."""
    if isinstance(observations, dict):
        return {key: value[rows] for key, value in observations.items()}
    return observations[rows]


def count(observations: PyTorchObs) -> int:
    """Rows of a batch."""
    return len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
