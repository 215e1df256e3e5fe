"""The random generators that a whole process shares."""

import random
from typing import Any

import numpy as np
import torch as th


def random_states() -> dict[str, Any]:
    """Of Python, NumPy, and PyTorch on the CPU and on every GPU that is in use: plain values."""
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": th.get_rng_state()}
    if th.cuda.is_available() and th.cuda.is_initialized():
        states["cuda"] = th.cuda.get_rng_state_all()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Bring the generators into saved states; those of GPUs that this machine does not have are left out.

    :param states: what :func:`random_states` returned
    """
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    th.set_rng_state(states["torch"].cpu())
    for index, state in enumerate(states.get("cuda", [])):
        if index < th.cuda.device_count():
            th.cuda.set_rng_state(state.cpu(), index)
