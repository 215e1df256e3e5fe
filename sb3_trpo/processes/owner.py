"""Workers as the process sees them that has started them."""

import os
import pickle
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from sb3_trpo.processes.interpreter import interpreter_options
from sb3_trpo.processes.messages import Failure, dump, receive, refuse_while_loading, send
from sb3_trpo.processes.surroundings import Surroundings
from sb3_trpo.processes.worker import serve

PATIENCE = 2.0  # seconds that an idle worker has to close what it keeps


def parts(count: int, n_processes: int) -> list[range]:
    """What each process gets of so many things."""
    bounds = np.linspace(0, count, n_processes + 1).astype(int).tolist()
    return list(map(range, bounds[:-1], bounds[1:]))


class Workers:
    """Processes that each keep an object and call its methods.

    :param makers: for each process, what makes the object there: a function and its arguments
    :param what: they do, for messages: ``"run branches"``
    :param advice: what to do without them, for messages
    :param inherited: file descriptors that they get
    """

    def __init__(
        self,
        makers: Sequence[tuple[Callable[..., Any], tuple]],
        what: str,
        advice: str,
        inherited: Sequence[int] = (),
    ):
        refuse_while_loading()
        self.what, self.advice = what, advice
        pickled = {id(maker): dump(maker) for maker in makers}
        self.processes = [_started(inherited) for _ in makers]
        self.close = weakref.finalize(self, _end, self.processes, PATIENCE)
        self._ready = select.poll() if hasattr(select, "poll") else None
        self._place = {process.stdout.fileno(): place for place, process in enumerate(self.processes)}  # type: ignore[union-attr]
        for number in self._place if self._ready is not None else ():
            self._ready.register(number, select.POLLIN)  # type: ignore[union-attr]
        self._asked: set[int] = set()
        self.take_on_surroundings()
        self._send({place: pickled[id(maker)] for place, maker in enumerate(makers)})
        self._made = False

    def __len__(self) -> int:
        return len(self.processes)

    @property
    def ended(self) -> bool:
        """Whether they have been ended, by a failure, an interruption or on purpose."""
        return not self.close.alive

    @property
    def busy(self) -> bool:
        """Whether a request has been sent and not been answered."""
        return self._made and bool(self._asked)

    def take_on_surroundings(self) -> None:
        """Give them this process's working directory, environment variables, and what else it has to itself."""
        message = pickle.dumps(Surroundings.here())
        for place in range(len(self.processes)):
            self._write(place, message)

    def call(self, method: str, arguments: Mapping[int, tuple]) -> dict[int, Any]:
        """Call a method in some of them, all at the same time.

        :param method: its name
        :param arguments: of each, by the worker's place
        :return: results by place
        :raises Exception: if it fails: AttributeError, TypeError or ValueError if it has raised one, else RuntimeError; the
            message has the worker's traceback
        :raises RuntimeError: if a worker has ended: all of them are ended then, as they are when this is interrupted
        """
        self.send({place: dump((method, given)) for place, given in arguments.items()})
        return self.receive()

    def send(self, messages: Mapping[int, bytes]) -> None:
        """Send requests: pickles of a method's name and arguments, by the worker's place."""
        if not self._made:
            self.receive()  # what came of making the objects
        self._send(messages)

    def _send(self, messages: Mapping[int, bytes]) -> None:
        try:
            for place, message in messages.items():
                self._asked.add(place)
                self._write(place, message)
        except BaseException:
            self.end_at_once()
            raise

    def receive(self) -> dict[int, Any]:
        """Results of the requests that were sent, as :meth:`call` gives them."""
        try:
            replies = {}
            while self._asked:
                for place in self._answering():
                    message = receive(self.processes[place].stdout)  # type: ignore[arg-type]
                    if message is None:
                        self._fail(place)
                    replies[place] = pickle.loads(message)
                    self._asked.discard(place)
                    if isinstance(replies[place], Failure) and not self._made and self._ready is not None:
                        self._ready.unregister(self.processes[place].stdout)  # type: ignore[arg-type]  # it ends, and has said why
        except BaseException:
            self.end_at_once()
            raise
        failed = [place for place in sorted(replies) if isinstance(replies[place], Failure)]
        if failed:
            if not self._made:
                self.close()
            raise replies[failed[0]].error(self._name(failed[0]))
        self._made = True
        return replies

    def _answering(self) -> list[int]:
        """Places of workers that have a reply, or have ended: one that was not asked has ended."""
        if self._ready is None:
            return sorted(self._asked)
        return [self._place[number] for number, _ in self._ready.poll()]

    def _write(self, place: int, message: bytes) -> None:
        try:
            send(self.processes[place].stdin, message)  # type: ignore[arg-type]
        except OSError:
            self._fail(place)

    def _fail(self, place: int) -> NoReturn:
        process = self.processes[place]
        message = receive(process.stdout)  # type: ignore[arg-type]
        said = None if message is None else pickle.loads(message)
        if isinstance(said, Failure):
            raise said.error(self._name(place))
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
        raise RuntimeError(
            f"{self._name(place).capitalize()} ended in the middle of it (exit status {process.returncode}). {self.advice}"
        )

    def _name(self, place: int) -> str:
        return f"process {place + 1} of the {len(self)} that {self.what}"

    def end_at_once(self) -> None:
        """End them, whatever they are doing."""
        if self.close.detach() is not None:
            _end(self.processes, 0.0)


def _started(inherited: Sequence[int]) -> subprocess.Popen:
    """A process that imports what this one would import, from the same places in the same order, and nothing else."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from {serve.__module__} import serve; serve({os.getpid()})"
    command = [sys.executable, *interpreter_options(), "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, pass_fds=inherited)


def _end(processes: list[subprocess.Popen], patience: float) -> None:
    """Close the pipes, which lets idle workers end, and after a while end the others; wait until all are gone."""
    for process in processes:
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
    deadline = time.monotonic() + patience
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
        with suppress(OSError):
            process.stdout.close()  # type: ignore[union-attr]
