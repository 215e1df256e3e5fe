"""What a process has to itself and another one can be given."""

import os
import sys
from typing import NamedTuple

import torch as th


class Surroundings(NamedTuple):
    """Working directory, the script's arguments, environment variables, PyTorch's default dtype, Python's recursion limit."""

    directory: str | None
    arguments: list[str]
    environment: dict[str, str]
    dtype: th.dtype
    recursion_limit: int

    @classmethod
    def here(cls) -> "Surroundings":
        """This process's."""
        try:
            directory = os.getcwd()
        except FileNotFoundError:  # it was removed
            directory = None
        return cls(directory, sys.argv, dict(os.environ), th.get_default_dtype(), sys.getrecursionlimit())

    def take_on(self) -> None:
        """Make them this process's."""
        if self.directory is not None:
            os.chdir(self.directory)
        sys.argv[:] = self.arguments
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        th.set_default_dtype(self.dtype)
        sys.setrecursionlimit(self.recursion_limit)
