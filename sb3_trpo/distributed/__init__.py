"""Data-parallel training: processes started by torchrun take one step together. With one process, nothing here has an effect.

What an update asks of other processes is the protocol :mod:`sb3_trpo.ranks`, which also answers for a process by itself.
``process_group`` answers through torch.distributed, ``shared_statistics`` merges what VecNormalize has seen, and
``algorithm`` is the rest of an SB3 algorithm: seeds, counts, episodes, callbacks, files, and the check that parameters
stay equal.
"""

from sb3_trpo.distributed.algorithm import DataParallelAlgorithm
from sb3_trpo.distributed.process_group import ProcessGroup, join, rank_and_size

__all__ = ["DataParallelAlgorithm", "ProcessGroup", "join", "rank_and_size"]
