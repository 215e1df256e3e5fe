"""Requests to end a run: SIGTERM when the machine is taken away, SIGUSR1 as SLURM sends it before the time is over."""

import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: not now, but later


class Preempted(SystemExit):
    """A run that was asked to end, and has saved itself: the process ends with status 75 unless it is caught."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


class Request:
    """Waits for signals while a model learns. The first one is a request; a second one does what it did before.

    :param signals: to wait for
    :param model: that learns; a signal that arrives when it does not, because ``learn`` has failed, is nothing special
    """

    def __init__(self, signals: Sequence[signal.Signals], model: Any):
        self.name = "another rank"
        self._model = model
        self._former: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for each in signals:
                self._former[each] = signal.signal(each, self._receive)

    @property
    def made(self) -> bool:
        return self.name != "another rank"

    def withdraw(self) -> None:
        """Let signals do what they did before."""
        for each, former in self._former.items():
            signal.signal(each, signal.SIG_DFL if former is None else former)
        self._former = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.withdraw()
        if self._is_learning(frame):
            self.name = signal.Signals(number).name
        else:
            os.kill(os.getpid(), number)

    def _is_learning(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_name == "learn" and frame.f_locals.get("self") is self._model:
                return True
            frame = frame.f_back
        return False
