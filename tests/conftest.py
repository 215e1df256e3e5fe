"""What holds for all tests: one thread, and Ctrl-C that reaches the processes they start."""

import signal

import pytest
import torch as th
from gymnasium import spaces

from tests.masked import SPACES

th.set_num_threads(1)
# Shells start what runs in their background with SIGINT ignored, which processes that the tests start would inherit
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=list(SPACES))
def space(request: pytest.FixtureRequest) -> spaces.Space:
    """Each kind of finite action space in turn."""
    return SPACES[request.param]
