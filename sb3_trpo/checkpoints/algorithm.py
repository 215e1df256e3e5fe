"""An SB3 algorithm that goes on from a checkpoint as if it had not been interrupted."""

import io
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.checkpoints import plain
from sb3_trpo.checkpoints.logs import reopened
from sb3_trpo.checkpoints.resumption import Resumption, with_restoring
from sb3_trpo.checkpoints.run import CARRIED, RunState
from sb3_trpo.checkpoints.settings import check_settings, warn_of_versions
from sb3_trpo.checkpoints.store import Checkpoint, DamagedError, Store, steps_of
from sb3_trpo.distributed import join
from sb3_trpo.ranks import Ranks

ZIP, VALUES, OBJECTS = "model.zip", "run.pt", "objects.bin"
INEXACT = ("refuse", "restart")
RESTARTED = (
    'The episodes of the {} training environments begin anew, as asked for with inexact="restart": the run goes on, but does '
    "not end as it would have ended."
)

Algorithm = TypeVar("Algorithm", bound=OnPolicyAlgorithm)
SelfResumable = TypeVar("SelfResumable", bound="Resumable")


class Resumable(OnPolicyAlgorithm):
    """An on-policy algorithm with :meth:`resume`.

    What it keeps in attributes made of numbers, texts, arrays and tensors, and in tuples, lists, dicts and sets of these, goes
    on as it was; so does what ``carried`` names.
    """

    carried: ClassVar[Sequence[str]] = CARRIED  # attributes of other types; may be pickled
    _resumption: Resumption | None = None  # that the next call of ``learn`` goes on from
    _going_on: Resumption | None = None  # that the present one goes on from

    @classmethod
    def resume(
        cls: type[SelfResumable],
        folder: str | Path,
        env: GymEnv | str,
        device: th.device | str = "auto",
        inexact: str = "refuse",
        changes: Mapping[str, Any] | None = None,
        custom_objects: dict[str, Any] | None = None,
        **settings: Any,
    ) -> SelfResumable:
        """
        The model of a folder's newest checkpoint that is not damaged (:class:`~sb3_trpo.checkpoints.ExactCheckpoint`).

        ``learn``, called as in the run that was interrupted, goes on to the same total and ends in the same parameters, bit
        for bit. Give it the same callbacks: they go on, too, and so do the logger's files.

        A checkpoint is as good as a program: loading it runs what is in it, as loading a zip of Stable-Baselines3's does
        (here also for the environments' states). Do not load what you would not run.

        :param folder: of checkpoints
        :param env: built as in that run, or its registered id; its state, and that of its wrappers, becomes the checkpoint's
        :param device: of the networks
        :param inexact: ``"restart"`` to begin episodes anew where the checkpoint has no environments or they do not fit;
            ``"refuse"`` to raise an error
        :param changes: settings to go on with in place of those saved, by name; ``n_envs`` allows that number of environments,
            and ``wrappers``, whatever its value, other wrappers
        :param custom_objects: as for ``load``
        :param settings: of the constructor, to make sure of: each must be the checkpoint's
        :raises ValueError: if there is no checkpoint that is whole; for another setting; for environments that do not fit
        :raises TypeError: for a setting that the algorithm does not have
        """
        if inexact not in INEXACT:
            raise ValueError(f"inexact={inexact!r}: give one of {', '.join(map(repr, INEXACT))}.")
        changes, device = dict(changes or {}), get_device(device)
        if "stats_window_size" in changes:
            raise ValueError("stats_window_size stays that of the episodes in the checkpoint: leave it out of changes.")
        checkpoint = _choose(Path(folder), join())
        warn_of_versions(checkpoint.about["versions"])
        archive = checkpoint.files[ZIP]
        saved = load_from_zip_file(io.BytesIO(archive), device=device, custom_objects=custom_objects)[0] or {}
        wrapped = cls._wrap_env(maybe_make_env(env, 0), 0)
        check_settings(cls, {**saved, **changes}, settings, wrapped, checkpoint.about)
        own = {name: value for name, value in changes.items() if name not in ("n_envs", "wrappers")}
        model = cls.load(io.BytesIO(archive), wrapped, device, custom_objects, force_reset=False, **own)
        state = RunState(plain.loads(checkpoint.files[VALUES], device), checkpoint.files[OBJECTS])
        misfit = _misfit(state, wrapped)
        if misfit is not None and inexact == "refuse":
            raise ValueError(f'{misfit} Or give inexact="restart" to go on with new episodes, which is not the same run.')
        model._resumption = Resumption(checkpoint, state, tuple(changes), restart=misfit is not None)
        model._resumption.restore(model)
        if misfit is not None:
            model._begin_episodes()
            warnings.warn(f"{misfit} {RESTARTED.format(model.n_envs)}", UserWarning, stacklevel=2)
        return model

    def learn(
        self: SelfResumable,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "OnPolicyAlgorithm",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfResumable:
        """
        Train; from a checkpoint, up to the total of the run that it is of.

        :param total_timesteps: env steps, over all environments
        :param callback: called at every step
        :param log_interval: rollouts between two logs
        :param tb_log_name: name of the TensorBoard run
        :param reset_num_timesteps: False to go on counting from an earlier call; a resumed run counts as it did
        :param progress_bar: show one
        """
        if self._resumption is not None:  # rollouts are counted from the run's beginning, and so are those between two logs
            self._resumption.log_interval, log_interval = log_interval, log_interval and 1
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    def dump_logs(self, iteration: int = 0) -> None:
        """
        Write the log.

        :param iteration: rollouts since the run began, 0 if that is not to be logged
        """
        if self._going_on is not None and iteration > 0:
            iteration += self._going_on.iterations
            if iteration % (self._going_on.log_interval or 1):
                return
        super().dump_logs(iteration)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        self._going_on, self._resumption = self._resumption, None
        resumption = self._going_on
        if resumption is None:
            return super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        steps, self.num_timesteps = self.num_timesteps, resumption.began_at
        custom = self._custom_logger
        if not custom and resumption.goes_on_logging:
            self._logger, self._custom_logger = reopened(resumption.outputs, resumption.steps), True
        try:
            prepared = super()._setup_learn(total_timesteps, callback, False, tb_log_name, progress_bar)
        finally:
            self.num_timesteps, self._custom_logger = steps, custom
        self.start_time = time.time_ns() - resumption.elapsed
        return prepared

    def _init_callback(self, callback: MaybeCallback, progress_bar: bool = False) -> BaseCallback:
        if self._going_on is not None:
            given = callback if isinstance(callback, list) else [callback]
            own = [each if isinstance(each, BaseCallback) else ConvertCallback(each) for each in given if each is not None]
            callback = with_restoring(own, self._going_on)
        return super()._init_callback(callback, progress_bar)

    def _begin_episodes(self) -> None:
        """Other ones than at the beginning of the run."""
        assert self.env is not None
        if self.seed is not None:
            self.env.seed(int(np.random.SeedSequence([self.seed, self.num_timesteps]).generate_state(1)[0] % 2**31))
        self._last_obs = self.env.reset()  # type: ignore[assignment]
        self._last_episode_starts = np.ones(self.env.num_envs, dtype=bool)

    def _state_restored(self) -> None:
        """Called when all is as it was in the checkpoint."""

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_resumption", "_going_on"]


@cache
def resumable(algorithm: type[Algorithm]) -> type[Algorithm]:
    """An algorithm of Stable-Baselines3's with :meth:`Resumable.resume`, under its own name."""
    if issubclass(algorithm, Resumable):
        return algorithm
    return type(algorithm.__name__, (algorithm, Resumable), {"__module__": algorithm.__module__, "__doc__": algorithm.__doc__})


def resume(algorithm: type[Algorithm], folder: str | Path, env: GymEnv | str, **options: Any) -> Algorithm:
    """``TRPO.resume`` for any on-policy algorithm of Stable-Baselines3's.

    :param algorithm: such as PPO
    :param folder: of checkpoints
    :param env: built as in the run that was interrupted
    :param options: see :meth:`Resumable.resume`
    """
    return resumable(algorithm).resume(folder, env, **options)  # type: ignore[attr-defined]


def has_checkpoints(folder: str | Path) -> bool:
    """Whether a folder has checkpoints, so that there is something to resume; of several ranks, one that all of them have.

    :param folder: that :class:`~sb3_trpo.checkpoints.ExactCheckpoint` is given; ask on all ranks
    """
    ranks = join()
    return bool(common_steps(Store(folder, ranks.rank, ranks.size), ranks))


def common_steps(store: Store, ranks: Ranks) -> set[int]:
    """Of the checkpoints that all ranks have, damaged ones included."""
    return set.intersection(*ranks.gather(set(map(steps_of, store.paths()))))


def _choose(folder: Path, ranks: Ranks) -> Checkpoint:
    """The newest checkpoint that is whole, on all ranks; those that are not are named."""
    store = Store(folder, ranks.rank, ranks.size)
    damaged: list[str] = []
    whole: dict[tuple[int, str], Checkpoint] = {}
    for path in store.paths():
        try:
            checkpoint = store.read(path)
        except DamagedError as error:
            damaged.append(f"{path} ({error})")
        else:
            whole[checkpoint.steps, checkpoint.about["run"]] = checkpoint
    if damaged:
        warnings.warn(f"Damaged checkpoints are passed over: {', '.join(damaged)}.", UserWarning, stacklevel=3)
    common = set.intersection(*map(set, ranks.gather(list(whole))))
    if not common:
        of_all = f" of all {ranks.size} ranks" if ranks.size > 1 else ""
        raise ValueError(
            f"There is no checkpoint{of_all} in {folder}{' that is not damaged' if damaged else ''}: name the folder that "
            "ExactCheckpoint was given, and start as many ranks as then."
        )
    return whole[max(common)]


def _misfit(state: RunState, env: VecEnv) -> str | None:
    """Why environments cannot be brought into the state of a run, or None if they can."""
    env.reset()
    try:
        state.restore_environments(env)
    except ValueError as error:
        return str(error)
    return None
