"""One step taken by several processes, started by torchrun, and by one as if there were nothing here.

``ranks`` says what a step asks of the others (means over everybody's samples, above all) and answers for a process by
itself, ``process_group`` answers through torch.distributed, ``shared_statistics`` merges what VecNormalize has seen, and
``algorithm`` is the rest of an SB3 algorithm: seeds, counts, episodes, callbacks, files, and the check that parameters
stay equal.
"""

from sb3_trpo.distributed.algorithm import DataParallelAlgorithm
from sb3_trpo.distributed.process_group import ProcessGroup, join, rank_and_size
from sb3_trpo.distributed.ranks import ALONE, Ranks, mean_and_std

__all__ = ["ALONE", "DataParallelAlgorithm", "ProcessGroup", "Ranks", "join", "mean_and_std", "rank_and_size"]
