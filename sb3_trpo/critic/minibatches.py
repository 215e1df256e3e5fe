"""Who computes what when several ranks fit one critic: the same minibatches, in the same order, as one process would take."""

from itertools import pairwise
from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_trpo.distributed import Ranks

# Multiplications of a forward pass on a minibatch above which it takes longer than adding up its gradients over ranks.
SMALL_WORK = 2**22
# Bytes of all ranks' samples that may be held on each of them.
SMALL_DATA = 2**26


class Minibatch(NamedTuple):
    """This rank's share of a minibatch.

    :param rows: of the samples here, in the order of the pass
    :param size: samples of the whole minibatch
    """

    rows: slice
    size: int


def every_rank_fits_alone(
    ranks: Ranks, inputs: PyTorchObs, batch_size: int, n_parameters: int, minibatch_statistics: bool
) -> bool:
    """Whether ranks exchange their samples once and then all make the same fit, rather than each its share of every step.

    Adding up the gradients of a small minibatch takes longer than computing them. On GPUs, where the same sums need not
    give the same bits twice, gradients are added up whatever the size.

    :param ranks: the processes
    :param inputs: of the samples here ``[B, …]``, or a dict of such
    :param batch_size: samples of a minibatch
    :param n_parameters: of the critic
    :param minibatch_statistics: whether the critic sees its minibatches as a whole (batch norm), which cannot be shared out
    """
    parts = list(inputs.values()) if isinstance(inputs, dict) else [inputs]
    rows = [part[:1] for part in parts]
    n_bytes = ranks.size * sum(len(part) * row.nbytes for part, row in zip(parts, rows, strict=True))
    small = batch_size * n_parameters <= SMALL_WORK and n_bytes <= SMALL_DATA
    return minibatch_statistics or (small and rows[0].device.type == "cpu")


def share_of(order: th.Tensor, batch_size: int, ranks: Ranks) -> tuple[th.Tensor, list[Minibatch]]:
    """One pass over the samples of all ranks, as this rank sees it.

    :param order: a permutation of all samples, rank 0's first ``[N·B]``
    :param batch_size: samples of a minibatch; the last one may have fewer
    :param ranks: those who share every minibatch
    :return: the samples here in the order of the pass, and their minibatches
    """
    bounds = [*range(0, len(order), batch_size), len(order)]
    sizes = [end - start for start, end in pairwise(bounds)]
    if ranks.size > 1:
        held = len(order) // ranks.size
        here = order // held == ranks.rank
        order = order[here] - ranks.rank * held
        bounds = [0, *here.cumsum(0)[th.tensor(bounds[1:]) - 1].tolist()]
    return order, [Minibatch(slice(start, end), size) for (start, end), size in zip(pairwise(bounds), sizes, strict=True)]
