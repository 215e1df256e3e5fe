"""The data-parallel part of an SB3 algorithm: seeds, counters, callbacks, files, and whether parameters stay equal."""

import io
import pathlib
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EventCallback,
    ProgressBarCallback,
)
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback

from sb3_trpo.atomic import place_of, replacing
from sb3_trpo.distributed.process_group import join, rank_and_size, take_own_gpu
from sb3_trpo.distributed.shared_statistics import SharedStatistics
from sb3_trpo.progress_bars import advance_progress_bars
from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.vec_env import describe_wrappers
from sb3_trpo.vec_env.moments import Moments

EPISODE_KEYS = ("episode", "is_success")  # of an info, what SB3's episode statistics are made of
SETTINGS = (bool, int, float, str, dict, list, tuple, type(None))  # what an attribute is that says how to learn
WRITERS = (CheckpointCallback, EvalCallback, ProgressBarCallback)  # callbacks that rank 0 alone has
MAY_DIFFER = {"seed", "verbose", "tensorboard_log", "start_time"}  # attributes that ranks need not have in common


def _described(value: Any) -> str:
    """What may be compared with another process's: text, without the places in memory of functions."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _without_writers(callback: BaseCallback | None) -> BaseCallback | None:
    """What is left of a tree of callbacks without those of SB3 that evaluate, save or draw; None for nothing.

    :param callback: the tree; events that trigger such a callback trigger nothing afterwards
    """
    if isinstance(callback, WRITERS):
        return None
    if isinstance(callback, CallbackList):
        callback.callbacks = [part for part in map(_without_writers, callback.callbacks) if part is not None]
    if isinstance(callback, EventCallback):
        callback.callback = _without_writers(callback.callback)
    return callback


@dataclass(frozen=True)
class RolloutReport:
    """What a rank tells the others at the end of a rollout.

    :param steps: env steps taken
    :param completed: whether it was not stopped by a callback
    :param episode_ends: steps at which episodes ended, with the arguments of SB3's ``_update_info_buffer`` there
    :param moments: what its environments have added to running statistics
    """

    steps: int
    completed: bool
    episode_ends: list[tuple[int, list[dict[str, Any]], np.ndarray]]
    moments: list[Moments]


class DataParallelAlgorithm(OnPolicyAlgorithm):
    """An on-policy algorithm that several ranks run together, each in environments of its own.

    ``num_timesteps``, episode statistics and running statistics are those of all ranks, from the end of one rollout to the
    end of the next; parameters start as rank 0's. Log, files and progress bar are rank 0's alone. The update itself is
    the subclass's, which asks ``_ranks`` for every mean over the samples.
    """

    def _prepare_ranks(self) -> None:
        """What ``_setup_model`` of the subclass begins with."""
        self._ranks: Ranks = ALONE  # the others are joined in `learn`: a model may also be made on one rank only
        self._rank, self._n_ranks = rank_and_size()
        self._episode_ends: list[tuple[int, list[dict[str, Any]], np.ndarray]] = []
        if self._rank > 0:
            self.verbose, self.tensorboard_log = 0, None
        if self.device == th.device("cuda"):
            take_own_gpu()

    @staticmethod
    def _unsaved_of_ranks() -> list[str]:
        return ["_ranks", "_rank", "_n_ranks", "_episode_ends", "_shared_statistics"]

    def _own_seed(self, seed: int | None) -> int | None:
        """Environment i of rank r is seeded as environment r·n + i of one process is."""
        return None if seed is None else int(seed) + rank_and_size()[0] * self.n_envs

    def set_random_seed(self, seed: int | None = None) -> None:
        """
        Seed all random generators, on every rank differently.

        :param seed: rank 0's; the others' follow from it
        """
        super().set_random_seed(self._own_seed(seed))

    def set_logger(self, logger: Logger) -> None:
        """
        Log somewhere else; on ranks other than 0, nowhere.

        :param logger: rank 0's
        """
        super().set_logger(logger if rank_and_size()[0] == 0 else Logger(folder=None, output_formats=[]))

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        Save the model, on rank 0; on other ranks, which have the same, this does nothing.

        They do not wait for the file: before they load it, call ``torch.distributed.barrier()`` on all ranks. A file that is
        there already is replaced in one step, when the new one is on the disk: whatever happens meanwhile leaves it whole.

        :param path: path to the file, or an open one
        :param exclude: names of attributes to leave out
        :param include: names of attributes to keep that would be left out
        """
        if self._rank > 0:
            return
        if not isinstance(path, (str, pathlib.Path)):
            super().save(path, exclude, include)
            return
        with replacing(place_of(path, "zip")) as file:
            super().save(file, exclude, include)  # type: ignore[arg-type]

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if self._ranks.size == 1:
            ranks = join()
            if (ranks.rank, ranks.size) != (self._rank, self._n_ranks):
                raise RuntimeError(
                    f"This is rank {ranks.rank} of {ranks.size}, but the model was made, and seeded, as rank {self._rank} of "
                    f"{self._n_ranks}: call init_process_group first, or let torchrun start the script, and make it then."
                )
            self._ranks = ranks
        if self._ranks.size > 1:
            self._check_settings(total_timesteps, reset_num_timesteps)
            self._copy_first()
            assert self.env is not None
            self._shared_statistics = SharedStatistics(self.env, self._ranks)
        return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        if self._rank == 0:
            return super()._init_callback(callback, progress_bar)
        callback = CallbackList(callback) if isinstance(callback, list) else callback
        return super()._init_callback(_without_writers(callback) if isinstance(callback, BaseCallback) else callback)

    def _check_settings(self, *arguments: object) -> None:
        """Refuse to go on with ranks that differ in what decides how many steps they take, or which.

        :raises ValueError: on every rank, naming the first difference
        """
        own = {
            "learn's arguments": _described(arguments),
            "the environments' wrappers": describe_wrappers(self.env),
        }
        own |= {"the observation space": str(self.observation_space), "the action space": str(self.action_space)}
        for name, value in vars(self).items():
            if isinstance(value, SETTINGS) and not name.startswith("_") and name not in MAY_DIFFER:
                own[name] = _described(value)
        of_ranks = self._ranks.gather(own)
        for rank, other in enumerate(of_ranks):
            for name in {**of_ranks[0], **other}:
                first, here = of_ranks[0].get(name), other.get(name)
                if first != here:
                    raise ValueError(
                        f"Ranks must not differ in {name}, which is {first} on rank 0 and {here} on rank {rank}: all of them "
                        "take the same number of env steps with the same settings. Give them the same."
                    )

    def _copy_first(self) -> None:
        """Take over rank 0's parameters and optimizer state."""
        own, first = io.BytesIO(), io.BytesIO()
        th.save(self.get_parameters(), own)
        first.write(self._ranks.broadcast(own.getvalue()))
        first.seek(0)
        self.set_parameters(th.load(first, map_location=self.device, weights_only=True), device=self.device)

    def _state_restored(self) -> None:
        if self._ranks.size > 1:
            self._shared_statistics.remember()

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: np.ndarray | None = None) -> None:
        if self._ranks.size == 1:
            super()._update_info_buffer(infos, dones)
        elif dones is not None and dones.any():
            episodes = [{key: info[key] for key in EPISODE_KEYS if key in info} for info in infos]
            self._episode_ends.append((self.num_timesteps, episodes, dones))

    def _meet(self, completed: bool, begin: int, callback: BaseCallback) -> bool:
        """End a rollout together with the other ranks.

        :param completed: whether no callback has stopped it here
        :param begin: ``num_timesteps`` at its beginning
        :param callback: may have a progress bar
        :return: whether no callback has stopped it anywhere
        """
        if self._ranks.size == 1:
            return completed
        steps = (self.num_timesteps - begin) // self._ranks.size
        report = RolloutReport(steps, completed, self._episode_ends, self._shared_statistics.news())
        reports = self._ranks.gather(report)
        self._episode_ends = []
        for _, infos, dones in sorted((end for report in reports for end in report.episode_ends), key=lambda end: end[0]):
            super()._update_info_buffer(infos, dones)
        self._shared_statistics.merge([report.moments for report in reports])
        total = sum(report.steps for report in reports)
        self.num_timesteps = begin + total
        advance_progress_bars(callback, total - steps)
        return all(report.completed for report in reports)

    def _check_parameters(self) -> None:
        """Compare the parameters of all ranks.

        :raises RuntimeError: on every rank, if they are not equal bit for bit
        """
        if self._ranks.size == 1:
            return
        checksum = 0
        for tensor in self.policy.state_dict().values():
            checksum = zlib.crc32(tensor.detach().cpu().reshape(-1).view(th.uint8).numpy(), checksum)
        checksums = self._ranks.concatenate(th.tensor([checksum])).tolist()
        others = [rank for rank, other in enumerate(checksums) if other != checksums[0]]
        if others:
            raise RuntimeError(
                f"After update {self._n_updates} the parameters of rank {', '.join(map(str, others))} are not those of rank 0 "
                "any more. Either something has changed them on some ranks only (a callback?), or the ranks round "
                "differently: give all of them the same kind of processor, the same packages and the same number of threads, "
                "and start again from the last checkpoint."
            )
