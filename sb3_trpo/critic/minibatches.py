"""Who computes what when several ranks fit one critic: the same minibatches, in the same order, as one process would take."""

from itertools import pairwise
from typing import NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_trpo.observation_parts import parts_of
from sb3_trpo.ranks import Ranks

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


def held_by_all(ranks: Ranks, inputs: PyTorchObs) -> bool:
    """Whether all ranks' samples are few enough to be exchanged once and held on each.

    :param ranks: the processes
    :param inputs: of the samples here ``[B, …]``, or a dict of such
    """
    return ranks.size * sum(len(part) * part[:1].nbytes for part in parts_of(inputs)) <= SMALL_DATA


def fitted_by_each(batch_size: int, n_parameters: int, device: th.device) -> bool:
    """Whether ranks that hold all samples make the whole fit each, rather than a part of every minibatch.

    Adding up the gradients of a small minibatch takes longer than computing them. On GPUs, where the same sums need not
    give the same bits twice, gradients are added up whatever the size.

    :param batch_size: samples of a minibatch
    :param n_parameters: of the critic
    :param device: where it is
    """
    return batch_size * n_parameters <= SMALL_WORK and device.type == "cpu"


def rank_minibatches(order: th.Tensor, batch_size: int, held: int, ranks: Ranks) -> tuple[th.Tensor, list[Minibatch]]:
    """One pass over the samples of all ranks, as this rank sees it.

    :param order: a permutation of all samples, rank 0's first ``[N·B]``
    :param batch_size: samples of a minibatch; the last one may have fewer
    :param held: samples here: all of them, and the minibatches are cut in equal parts, or B, and each rank takes its own
    :param ranks: those who share every minibatch
    :return: the samples here in the order of the pass, and their minibatches
    """
    bounds = [*range(0, len(order), batch_size), len(order)]
    sizes = [end - start for start, end in pairwise(bounds)]
    if held == len(order):
        first, last = ([size * rank // ranks.size for size in sizes] for rank in (ranks.rank, ranks.rank + 1))
        rows = [slice(start + a, start + b) for start, a, b in zip(bounds[:-1], first, last, strict=True)]
    else:
        here = order // held == ranks.rank
        order = order[here] - ranks.rank * held
        rows = [slice(*ends) for ends in pairwise([0, *here.cumsum(0)[th.tensor(bounds[1:]) - 1].tolist()])]
    return order, [Minibatch(*minibatch) for minibatch in zip(rows, sizes, strict=True)]
