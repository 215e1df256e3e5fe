"""The callback that saves a run so that it can go on as if it had not been interrupted."""

import io
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4
from weakref import WeakKeyDictionary

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EventCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.checkpoints import plain
from sb3_trpo.checkpoints.algorithm import INEXACT, OBJECTS, VALUES, ZIP, common_steps
from sb3_trpo.checkpoints.callback_states import not_saved, walk
from sb3_trpo.checkpoints.preemption import SIGNALS, Preempted, Request
from sb3_trpo.checkpoints.run import RunState, environments
from sb3_trpo.checkpoints.settings import versions
from sb3_trpo.checkpoints.store import DamagedError, Store, steps_of
from sb3_trpo.checks import check_count, check_real
from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.vec_env import call_cloneable, clone_vec_env, describe_wrappers

_RUNS: "WeakKeyDictionary[BaseAlgorithm, str]" = WeakKeyDictionary()  # names of the runs that models of this process are in
CHOICE = (
    'Give ExactCheckpoint inexact="restart" to save everything else: a resumed run then begins new episodes, and does not end '
    "as it would have ended."
)


class ExactCheckpoint(BaseCallback):
    """Saves a whole run, so that after :meth:`TRPO.resume <sb3_trpo.checkpoints.Resumable.resume>` it ends, bit for bit, as it
    would have ended without the interruption.

    It saves between two iterations, when the update is done: networks and optimizer, every random generator, environments and
    wrappers where they stand, running statistics, counters, what callbacks know, and what is logged but not yet written. Each
    checkpoint is a folder of its own, named after the env steps, and is whole or not there; ``model.zip`` in it is an
    ordinary zip. A full disk costs a checkpoint and a warning, not the run.

    SIGTERM and SIGUSR1 end the run after the iteration with a checkpoint and exit status 75; a second one ends it at once.

    :param folder: of this run's checkpoints alone
    :param every_steps: env steps from one to the next, ≥ 1
    :param every_minutes: or minutes, > 0; one of the two must be given
    :param keep: how many of the newest to keep, ≥ 1; with 2 there is another one if the newest is damaged
    :param inexact: what to do if an environment's state cannot be copied: ``"refuse"`` to train with it, or ``"restart"``, to
        save everything else
    :param signals: that end the run; only Python's main thread can receive any
    :param verbose: 1 to print where each checkpoint is
    :raises ValueError: for a value out of range, when training starts for a folder that has another run's checkpoints or
        cannot be written to, and for environments that cannot be copied
    :raises TypeError: for a value of the wrong type
    """

    saves_runs = True

    def __init__(
        self,
        folder: str | Path,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        keep: int = 2,
        inexact: str = "refuse",
        signals: Sequence[signal.Signals] = SIGNALS,
        verbose: int = 0,
    ):
        super().__init__(verbose)
        if (every_steps is None) == (every_minutes is None):
            raise ValueError(f"every_steps={every_steps!r} and every_minutes={every_minutes!r}: give one of the two.")
        if every_steps is not None:
            check_count("every_steps", every_steps, 1)
        if every_minutes is not None:
            check_real("every_minutes", every_minutes, 0.0, False, float("inf"), False)
        check_count("keep", keep, 1)
        if inexact not in INEXACT:
            raise ValueError(f"inexact={inexact!r}: give one of {', '.join(map(repr, INEXACT))}.")
        self.folder, self.every_steps, self.every_minutes = Path(folder), every_steps, every_minutes
        self.keep, self.inexact, self.signals = keep, inexact, tuple(signals)
        self._disturbed = False
        self._left_out: set[str] = set()
        self._leaving_traces: list[VecEnv] = []
        self._request: Request | None = None

    def _on_training_start(self) -> None:
        model = self._algorithm
        self._ranks: Ranks = getattr(model, "_ranks", ALONE)
        self._store = Store(self.folder, self._ranks.rank, self._ranks.size)
        self._check_place()
        self.iterations = 0
        resumption = getattr(model, "_going_on", None)
        if resumption is not None:
            self.iterations, _RUNS[model] = resumption.iterations, resumption.run
        self._run = _RUNS.setdefault(model, self._ranks.broadcast(uuid4().hex))
        self._check_folder(None if resumption is None else resumption.steps)
        self._check_environments()
        for name, attributes in not_saved(self._root).items():
            warnings.warn(
                f"Checkpoints do not have what {name} keeps in {', '.join(attributes)}: a resumed run begins with what its "
                "constructor puts there. Where that matters, give it methods state_dict() and load_state_dict(state).",
                stacklevel=2,
            )
        self._last_steps, self._last_time = model.num_timesteps, time.monotonic()
        self._request = Request(self.signals, model)

    @property
    def _algorithm(self) -> OnPolicyAlgorithm:
        if not isinstance(self.model, OnPolicyAlgorithm):
            kind = type(self.model).__name__
            raise TypeError(f"ExactCheckpoint saves on-policy algorithms, and {kind} is none: use SB3's CheckpointCallback.")
        return self.model

    @property
    def _root(self) -> BaseCallback:
        """``learn``'s callback, which this one is a part of."""
        return self.locals["callback"]

    def _check_place(self) -> None:
        """Refuse a place inside an event's callback, which is not told when rollouts begin."""
        for callback in walk(self._root):
            if isinstance(callback, EventCallback) and callback.callback is not None and self in walk(callback.callback):
                raise ValueError(
                    f"ExactCheckpoint is inside {type(callback).__name__}, which does not tell it when rollouts begin: give "
                    "it to learn itself, in a list with the other callbacks."
                )

    def _check_folder(self, resumed: int | None) -> None:
        """Refuse another run's; take away what does not count: what not all ranks have, and what was passed over.

        :param resumed: steps of the checkpoint that the run goes on from
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe{self._ranks.rank}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ValueError(
                f"Checkpoints cannot be written to {self.folder} ({error.strerror}): name another folder."
            ) from error
        common = common_steps(self._store, self._ranks)
        for path in self._store.paths():
            run = self._run_of(path)
            passed_over = resumed is not None and steps_of(path) > resumed and run in (None, self._run)
            if steps_of(path) not in common or passed_over:
                self._store.remove(path)
            elif resumed is None and run == self._run and steps_of(path) > self._algorithm.num_timesteps:
                raise ValueError(
                    f"{self.folder} has checkpoints of an earlier call of learn ({path.name}), and this one counts env steps "
                    f"from {self._algorithm.num_timesteps}: name another folder, or go on with reset_num_timesteps=False."
                )
            elif run not in (self._run, *([] if resumed is None else [None])):
                raise ValueError(
                    f"{self.folder} has checkpoints of another run ({path.name}): go on with that one by "
                    f"{type(self.model).__name__}.resume(folder, env), or name another folder."
                )

    def _run_of(self, path: Path) -> str | None:
        try:
            return self._store.read(path).about["run"]
        except DamagedError:
            return None

    def _is_own(self, path: Path) -> bool:
        """Whether a checkpoint may be removed; a warning for the first that another run has saved meanwhile."""
        own = self._store.about(path).get("run") in (self._run, None)
        if not own and not self._disturbed:
            self._disturbed = True
            warnings.warn(
                f"Another run saves its checkpoints in {self.folder}, too ({path.name}): resuming takes the newest, whosever "
                "it is. Give each run a folder of its own.",
                RuntimeWarning,
                stacklevel=2,
            )
        return own

    def _check_environments(self) -> None:
        """Find out now which cannot be saved later."""
        self._left_out, self._leaving_traces = set(), []
        for name, env in environments(self._algorithm, self._root).items():
            try:
                pickle.dumps(clone_vec_env(env))
            except (ValueError, TypeError, AttributeError, pickle.PicklingError) as error:  # the others are pickle's
                if self.inexact == "refuse":
                    raise ValueError(f"Exact checkpoints are not possible: {error} {CHOICE}") from error
                self._left_out.add(name)
                warnings.warn(f"{error} Checkpoints are saved without it: a resumed run begins new episodes.", stacklevel=2)
            else:
                if any(call_cloneable(env.unwrapped, "forgets_when_saved", range(env.num_envs))):
                    self._leaving_traces.append(env)

    def _on_rollout_start(self) -> None:
        stop, due = self._agreed()
        saved = (due or stop) and self._save()
        for env in () if saved else self._leaving_traces:
            clone_vec_env(env)  # copying changes how these go on, so they are copied at every rollout, saved or not
        if stop and self._request is not None:
            self._request.withdraw()
            where = f"in {self.folder}" if saved else "failed, so that the one before it is the last"
            print(
                f"Ended by {self._request.name} after {self._algorithm.num_timesteps} steps; checkpoint {where}",
                file=sys.stderr,
            )
            raise Preempted

    def _on_rollout_end(self) -> None:
        self.iterations += 1

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self._request is not None:
            self._request.withdraw()

    def _agreed(self) -> tuple[bool, bool]:
        """Whether to end and whether to save: the same on all ranks."""
        assert self._request is not None
        of_ranks = self._ranks.gather((self._request.made, self._is_due()))
        return any(stop for stop, _ in of_ranks), of_ranks[0][1]

    def _is_due(self) -> bool:
        if self.every_minutes is not None:
            return time.monotonic() - self._last_time >= 60.0 * self.every_minutes
        assert self.every_steps is not None
        return self._algorithm.num_timesteps // self.every_steps > self._last_steps // self.every_steps

    def _save(self) -> bool:
        """Save on all ranks, or on none; whether it was possible."""
        model = self._algorithm
        self._last_steps, self._last_time = model.num_timesteps, time.monotonic()
        path = None
        try:
            path = self._store.write(model.num_timesteps, self._files(), self._about())
        except Exception as error:  # whatever it is, the run is worth more than a checkpoint
            warnings.warn(
                f"No checkpoint of step {model.num_timesteps} was written to {self.folder} ({type(error).__name__}: {error}). "
                "Training goes on, and the checkpoints before it are as they were.",
                RuntimeWarning,
                stacklevel=2,
            )
        saved = all(self._ranks.gather(path is not None))
        if saved:
            self._store.prune(self.keep, self._is_own)
            if self.verbose >= 1 and self._ranks.rank == 0:
                print(f"Saved a checkpoint to {path}")
        elif path is not None:
            self._store.remove(path)
        return saved

    def _files(self) -> dict[str, bytes]:
        archive = io.BytesIO()
        BaseAlgorithm.save(self._algorithm, archive)  # on every rank, each with its own attributes
        state = RunState.of(self._algorithm, self._root, self.iterations, self._left_out)
        return {ZIP: archive.getvalue(), VALUES: plain.dumps(state.values), OBJECTS: state.objects}

    def _about(self) -> dict[str, object]:
        model = self._algorithm
        assert model.env is not None
        about = {
            "run": self._run,
            "algorithm": type(model).__name__,
            "steps": model.num_timesteps,
            "updates": model._n_updates,
            "folder": str(self.folder.resolve()),
        }
        return {
            **about,
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "versions": versions(),
            "wrappers": describe_wrappers(model.env),
        }
