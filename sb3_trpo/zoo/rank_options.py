"""``python -m sb3_trpo train`` on several ranks: all of them train, one of them writes and prints."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from tempfile import TemporaryDirectory

from sb3_trpo.distributed import rank_and_size

PROGRESS = "--progress"  # and what it may be cut short to


@contextmanager
def options_of_rank(options: Sequence[str]) -> Iterator[list[str]]:
    """Options of RL Zoo's ``train``; on ranks other than 0 with a log folder that does not last, without progress bar and
    evaluations.

    :param options: as given to all ranks
    """
    if rank_and_size()[0] == 0:
        yield list(options)
        return
    options = [option for option in options if option != "-P" and not (option[:3] == "--p" and PROGRESS.startswith(option))]
    with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield [*options, "--log-folder", folder, "--eval-freq", "-1", "--eval-episodes", "1"]
