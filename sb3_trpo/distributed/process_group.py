"""Several processes through torch.distributed: joining them, their reductions, and what is said when one is lost."""

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch as th
import torch.distributed as dist

from sb3_trpo.ranks import ALONE, Ranks, Report

# Within an update the ranks run in step. Between two updates one of them may evaluate, save, or have slower environments.
UPDATE_TIMEOUT = timedelta(seconds=60)
ROLLOUT_TIMEOUT = timedelta(minutes=10)  # of a process group that the script has not made itself

LAUNCHED = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}  # what torchrun puts into the environment


def rank_and_size() -> tuple[int, int]:
    """This process's rank and the number of ranks, joined yet or not; (0, 1) where there are no others."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if os.environ.keys() >= LAUNCHED else (0, 1)


def take_own_gpu() -> None:
    """Make the GPU of this process's number on its machine the current one, if a launcher numbered the processes."""
    if th.cuda.is_available() and "LOCAL_RANK" in os.environ:
        th.cuda.set_device(int(os.environ["LOCAL_RANK"]) % th.cuda.device_count())


def join() -> Ranks:
    """Join the script's process group, or make it from torchrun's environment; without either, a process by itself."""
    if not dist.is_available():
        return ALONE
    if not dist.is_initialized() and rank_and_size()[1] > 1:
        # NCCL takes one process a GPU; gloo lets several share one
        own_gpus = th.cuda.is_available() and int(os.environ.get("LOCAL_WORLD_SIZE", 1)) <= th.cuda.device_count()
        dist.init_process_group("cpu:gloo,cuda:nccl" if own_gpus else "gloo", timeout=ROLLOUT_TIMEOUT)
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
    if dist.is_initialized() and dist.get_world_size() > 1:
        return ProcessGroup()
    return ALONE


class ProcessGroup:
    """The ranks of torch.distributed's default process group, as :class:`~sb3_trpo.ranks.Ranks`.

    :raises RuntimeError: from every method if a rank has ended, or does not answer: for a minute in the middle of an
        update, for the process group's own timeout between two
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._devices = [pair.partition(":")[0] for pair in dist.get_backend_config().split(",")]
        with self._explained():
            self._in_step = dist.new_group(timeout=UPDATE_TIMEOUT)
        self.generator: th.Generator | None = th.Generator().manual_seed(self.broadcast(int(th.randint(2**62, ()))))

    def mean(self, values: th.Tensor) -> th.Tensor:
        return self._reduced(values, dist.ReduceOp.SUM).div_(self.size)

    def maximum(self, values: th.Tensor) -> th.Tensor:
        return self._reduced(values, dist.ReduceOp.MAX)

    def all_reduce(self, tensors: Sequence[th.Tensor]) -> None:
        joined = tensors[0] if len(tensors) == 1 else th.cat([tensor.reshape(-1) for tensor in tensors])
        summed = self._within_reach(joined).contiguous()
        with self._explained():
            dist.all_reduce(summed, group=self._in_step)
        if summed is tensors[0]:  # done in place: each copy of a large gradient takes a good part of the time of its sum
            return
        parts = summed.reshape(-1).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def concatenate(self, rows: th.Tensor) -> th.Tensor:
        own = self._within_reach(rows).contiguous()
        everything = own.new_empty(self.size, *own.shape)
        with self._explained():  # as bytes, because no backend knows all types of numbers
            dist.all_gather(list(everything.view(th.uint8)), own.view(th.uint8), group=self._in_step)
        return everything.flatten(0, 1).to(rows.device)

    def gather(self, report: Report) -> list[Report]:
        reports: list[Report] = [report] * self.size
        with self._explained():
            dist.all_gather_object(reports, report)
        return reports

    def broadcast(self, report: Report) -> Report:
        reports = [report]
        with self._explained():
            dist.broadcast_object_list(reports, src=0)
        return reports[0]

    @contextmanager
    def same_random_numbers(self) -> Iterator[None]:
        with th.random.fork_rng([th.cuda.current_device()] if th.cuda.is_available() else []):
            th.manual_seed(int(th.randint(2**62, (), generator=self.generator)))
            yield

    def _reduced(self, values: th.Tensor, operation: "dist.ReduceOp.RedOpType") -> th.Tensor:
        result = self._within_reach(values.detach()).clone(memory_format=th.contiguous_format)
        with self._explained():
            dist.all_reduce(result, operation, group=self._in_step)
        return result.to(values.device)

    def _within_reach(self, values: th.Tensor) -> th.Tensor:
        """On a device that the process group has a backend for."""
        return values if values.device.type in self._devices else values.to(self._devices[0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(
                f"Rank {self.rank} of {self.size} has lost the others: one of them has ended, or has not answered in time. "
                "The reason is in that rank's own output. Nothing is lost up to the last checkpoint: start all ranks again "
                f"from there. (torch.distributed: {error})"
            ) from error
