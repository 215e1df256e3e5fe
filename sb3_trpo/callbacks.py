"""SB3's own callbacks in a tree of them: progress bars that must be moved on, and callbacks that write."""

from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EventCallback,
    ProgressBarCallback,
)

WRITING = (CheckpointCallback, EvalCallback, ProgressBarCallback)


def advance_progress_bars(callback: BaseCallback | None, steps: int) -> None:
    """Move on the progress bars by env steps that no callback was called for.

    :param callback: what ``learn`` made of the user's callbacks and its own
    :param steps: env steps, over all environments
    """
    if isinstance(callback, ProgressBarCallback):
        callback.pbar.update(steps)
    elif isinstance(callback, CallbackList):
        for part in callback.callbacks:
            advance_progress_bars(part, steps)
    elif isinstance(callback, EventCallback):
        advance_progress_bars(callback.callback, steps)


def without_writing_ones(callback: BaseCallback | None) -> BaseCallback | None:
    """What is left of a tree of callbacks without those of SB3 that evaluate, save or draw; None for nothing.

    :param callback: the tree; events that trigger such a callback trigger nothing afterwards
    """
    if isinstance(callback, WRITING):
        return None
    if isinstance(callback, CallbackList):
        callback.callbacks = [part for part in map(without_writing_ones, callback.callbacks) if part is not None]
    if isinstance(callback, EventCallback):
        callback.callback = without_writing_ones(callback.callback)
    return callback
