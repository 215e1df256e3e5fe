"""What a worker does: it makes an object and calls its methods, until the process that started it closes the pipe or ends."""

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


def serve(owner: int) -> None:
    """Make an object, then fulfil requests, each a method's name and arguments.

    :param owner: number of the process that started this one
    """
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):  # Ctrl-C, or a scheduler's, reaches all processes; the first one decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    Thread(target=_end_with, args=(owner,), daemon=True).start()
    # Whatever an environment reads or prints must not get between requests and replies
    requests, replies = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    th.set_num_threads(1)
    made: Any = None
    while (message := receive(requests)) is not None:
        try:
            request = load(message)
            if callable(getattr(request, "take_on", None)):
                request.take_on()
                continue
            name, arguments = request
            if made is None:
                made, result = name(*arguments), None
                gc.freeze()  # requests bring and take thousands of objects, and would have the collector go through all others
            else:
                result = getattr(made, name)(*arguments)
            reply = dump_plain(result)
        except Exception as error:
            reply = pickle.dumps(failure(error))
        _answer(replies, reply)
        if made is None:
            return
    if hasattr(made, "close"):
        made.close()


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
