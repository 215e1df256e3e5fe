"""SB3's progress bars in a tree of callbacks, which must be moved on by steps that no callback was called for."""

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback, ProgressBarCallback


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
