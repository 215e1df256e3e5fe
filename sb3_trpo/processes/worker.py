"""What a worker does: it makes an object and calls its methods, until it is told to close it, or its owner has ended."""

import gc
import io
import os
import pickle
import signal
import sys
import time
from threading import Thread
from typing import Any

import torch as th

from sb3_trpo.processes.messages import dump_plain, failure, load, receive, send
from sb3_trpo.processes.surroundings import Surroundings

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


def serve(owner: int, shown: int) -> None:
    """Make an object, then fulfil requests, each a method's name and arguments, until one is empty.

    :param owner: number of the process that started this one
    :param shown: file descriptor of what that process prints to; 2 where it has none to give
    """
    requests, replies = _pipes(shown)
    _leave_signals_to_owner(requests, replies)
    Thread(target=_end_with, args=(owner,), daemon=True).start()
    th.set_num_threads(1)
    own = os.getpid()
    made: Any = None
    while message := receive(requests):
        try:
            request = load(message)
            if isinstance(request, Surroundings):
                request.take_on()
                continue
            name, arguments = request
            if made is None:
                made, result = name(*arguments), None
                gc.freeze()  # requests bring and take thousands of objects, and would have the collector go through all others
            else:
                result = getattr(made, name)(*arguments)
            reply = dump_plain(result)
        except (Exception, SystemExit) as error:
            if os.getpid() != own:  # a fork of the environment's, which has its own end
                raise
            reply = pickle.dumps(failure(error))
        _answer(replies, reply)
        if made is None:
            return
    if hasattr(made, "close"):
        made.close()


def _pipes(shown: int) -> tuple[io.RawIOBase, io.RawIOBase]:
    """Requests and replies. Whatever an environment reads or prints must not get between them."""
    requests, replies = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    if shown == 2 and sys.__stderr__ is None:
        shown = nothing
    os.dup2(shown, 1)
    for copied in {nothing, shown} - {0, 1, 2}:
        os.close(copied)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return requests, replies


def _leave_signals_to_owner(*pipes: io.RawIOBase) -> None:
    """Do nothing on Ctrl-C and on what a scheduler sends, which reach all processes.

    Processes that an environment starts are its own: they do what they would do elsewhere, and must not hold the pipes, by
    which the owner sees that the worker has ended.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: None)  # SIG_IGN would be handed on to other programs
        signal.siginterrupt(number, False)

    def let_go() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        for pipe in pipes:
            pipe.close()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=let_go)


def _answer(replies: io.RawIOBase, reply: bytes) -> None:
    try:
        send(replies, reply)
    except OSError:  # the other side is gone
        sys.exit(0)


def _end_with(owner: int) -> None:
    """End when the process that started this one has ended, whatever this one is busy with."""
    while os.getppid() == owner:
        time.sleep(1.0)
    os._exit(1)
