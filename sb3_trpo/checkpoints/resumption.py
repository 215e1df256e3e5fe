"""A checkpoint that a run goes on from, and the moment at which everything is brought into its state."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_trpo.checkpoints.callback_states import walk
from sb3_trpo.checkpoints.logs import moved
from sb3_trpo.checkpoints.run import RunState
from sb3_trpo.checkpoints.store import Checkpoint


class Resumption:
    """A checkpoint that an algorithm goes on from.

    :param checkpoint: whole
    :param state: of the run, in it
    :param changed: names of settings that were changed
    :param restart: whether episodes begin anew
    """

    def __init__(self, checkpoint: Checkpoint, state: RunState, changed: Sequence[str], restart: bool):
        self.run, self.steps = checkpoint.about["run"], checkpoint.steps
        self.iterations: int = state.values["iterations"]
        self.elapsed: int = state.values["elapsed"]
        self.began_at: int = state.values["attributes"]["_num_timesteps_at_start"]
        self.outputs = moved(state.values["outputs"], Path(checkpoint.about["folder"]), checkpoint.path.resolve().parent)
        self.goes_on_logging = not {"verbose", "tensorboard_log"} & set(changed)
        self.restart = restart
        self.log_interval: int | None = 1
        self._state, self._changed = state, changed

    def restore(self, model: Any) -> None:
        self._state.restore_model(model, self._changed, not self.restart)
        model._state_restored()

    def restore_callbacks(self, model: OnPolicyAlgorithm, root: BaseCallback) -> None:
        strangers = self._state.restore_callbacks(model, root)
        if strangers:
            names = ", ".join(name.rpartition(" ")[0] for name in strangers)
            text = "The result may differ from that of an uninterrupted run."
            warnings.warn(f"Callbacks are not those of the checkpoint: {names}. {text}", stacklevel=2)
        if self.restart:
            model.logger.record("rollout/restarted_episodes", model.n_envs)


class _Restoring(BaseCallback):
    """Brings everything into the checkpoint's state when the first rollout begins: what was drawn and counted before that by
    whatever ``learn`` prepares is forgotten."""

    def __init__(self, resumption: Resumption):
        super().__init__()
        self.resumption: Resumption | None = resumption

    def _on_rollout_start(self) -> None:
        if self.resumption is not None:
            resumption, self.resumption = self.resumption, None
            resumption.restore_callbacks(self.model, self.locals["callback"])  # type: ignore[arg-type]
            resumption.restore(self.model)

    def _on_step(self) -> bool:
        return True


def with_restoring(callbacks: Iterable[BaseCallback], resumption: Resumption) -> CallbackList:
    """The callbacks, with one that restores in front of the one that saves, or in front of all if none does.

    Callbacks before the one that saves had already begun the rollout when it saved. So they begin it here, too, and then
    everything is restored.
    """
    single = list(_single(callbacks))
    saving = (any(getattr(part, "saves_runs", False) for part in walk(each)) for each in single)
    place = next((index for index, saves in enumerate(saving) if saves), 0)
    return CallbackList([*single[:place], _Restoring(resumption), *single[place:]])


def _single(callbacks: Iterable[BaseCallback]) -> Iterator[BaseCallback]:
    for callback in callbacks:
        if type(callback) is CallbackList:
            yield from _single(callback.callbacks)
        else:
            yield callback
