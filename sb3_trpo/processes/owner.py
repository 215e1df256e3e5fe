"""Workers as the process sees them that has started them."""

import math
import os
import pickle
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from sb3_trpo.processes.interpreter import interpreter_options
from sb3_trpo.processes.messages import Failure, dump, receive, refuse_while_loading, send
from sb3_trpo.processes.surroundings import Surroundings
from sb3_trpo.processes.worker import serve

CLOSE = b""  # the last request
LOOK_AFTER = 1_000  # milliseconds without a reply, after which it is asked whether the workers are alive


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
        self._asked: set[int] = set()
        self.close = weakref.finalize(self, _end, self.processes, self._asked, os.getpid())
        self._ready = select.poll() if hasattr(select, "poll") else None
        self._place = {process.stdout.fileno(): place for place, process in enumerate(self.processes)}  # type: ignore[union-attr]
        for number in self._place if self._ready is not None else ():
            self._ready.register(number, select.POLLIN)  # type: ignore[union-attr]
        self._reading = False
        self.interrupted = False  # whether Ctrl-C has ended the wait for their answers
        self.take_on_surroundings()
        self._send({place: pickled[id(maker)] for place, maker in enumerate(makers)})
        self._made = False

    def __len__(self) -> int:
        return len(self.processes)

    @property
    def ended(self) -> bool:
        """Whether they have been ended, by a failure or on purpose."""
        return not self.close.alive

    @property
    def busy(self) -> bool:
        """Whether a request has been sent and its answer not been received."""
        return self._made and bool(self._asked) and not self.ended

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
        :raises RuntimeError: if a worker has ended: all of them are ended then
        """
        self.send({place: dump((method, given)) for place, given in arguments.items()})
        return self.receive()

    def send(self, messages: Mapping[int, bytes]) -> None:
        """Send requests: pickles of a method's name and arguments, by the worker's place.

        :raises RuntimeError: if a former request has not been answered
        """
        if self.busy:
            raise RuntimeError(f"The processes that {self.what} are at a former request: wait for its answer first.")
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
        """Results of the requests that were sent, as :meth:`call` gives them.

        Interrupted by Ctrl-C while it waits, it leaves them busy, and ``interrupted``: call :meth:`settle` before the next
        request.
        """
        replies = self._replies()
        failed = [place for place in sorted(replies) if isinstance(replies[place], Failure)]
        if failed:
            if not self._made:
                self.close()
            raise replies[failed[0]].error(self._name(failed[0]))
        self._made = True
        return replies

    def settle(self, within: float) -> None:
        """After an interruption, wait until they are idle; end them if that takes too long, or if this is interrupted.

        :param within: seconds
        """
        try:
            with suppress(Exception):  # which ends them
                self._replies(time.monotonic() + within)
        except BaseException:
            self.end_at_once()
            raise
        finally:
            self.interrupted = False

    def _replies(self, deadline: float = math.inf) -> dict[int, Any]:
        replies: dict[int, Any] = {}
        try:
            while self._asked:
                for place in self._answering(deadline):
                    self._reading = True
                    message = receive(self.processes[place].stdout)  # type: ignore[arg-type]
                    if message is None:
                        self._fail(place)
                    replies[place] = pickle.loads(message)
                    self._asked.discard(place)
                    if isinstance(replies[place], Failure) and not self._made and self._ready is not None:
                        self._ready.unregister(self.processes[place].stdout)  # type: ignore[arg-type]  # it ends, and has said why
                    self._reading = False
        except BaseException as error:
            half_read = self._reading or not self._made
            self.interrupted = isinstance(error, KeyboardInterrupt) and not half_read
            if not self.interrupted:
                self.end_at_once()
            raise
        return replies

    def _answering(self, deadline: float) -> list[int]:
        """Places of workers that have a reply, or have ended: one that was not asked has ended.

        :raises TimeoutError: after the deadline
        """
        if self._ready is None:
            return sorted(self._asked)
        while not (ready := self._ready.poll(LOOK_AFTER)):
            # A worker may have ended while something that it has started holds its pipe
            ended = [place for place in sorted(self._asked) if self.processes[place].poll() is not None]
            if ended and not self._ready.poll(0):
                self._end_of(ended[0])
            if time.monotonic() > deadline:
                raise TimeoutError
        return [self._place[number] for number, _ in ready]

    def _write(self, place: int, message: bytes) -> None:
        try:
            send(self.processes[place].stdin, message)  # type: ignore[arg-type]
        except OSError:
            self._fail(place)

    def _fail(self, place: int) -> NoReturn:
        message = receive(self.processes[place].stdout)  # type: ignore[arg-type]
        said = None if message is None else pickle.loads(message)
        if isinstance(said, Failure):
            raise said.error(self._name(place))
        self._end_of(place)

    def _end_of(self, place: int) -> NoReturn:
        process = self.processes[place]
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5.0)
        raise RuntimeError(
            f"{self._name(place).capitalize()} ended before it answered (exit status {process.returncode}). {self.advice}"
        )

    def _name(self, place: int) -> str:
        return f"process {place + 1} of the {len(self)} that {self.what}"

    def end_at_once(self) -> None:
        """End them, whatever they are doing."""
        if self.close.detach() is not None:
            _end(self.processes, range(len(self)), os.getpid())


def _started(inherited: Sequence[int]) -> subprocess.Popen:
    """A process that imports what this one would import, from the same places in the same order, and nothing else."""
    places = [place for place in sys.path if isinstance(place, str)]  # as Python itself looks at no others
    shown = _standard_output()
    code = f"import sys; sys.path[:] = {places!r}; from {serve.__module__} import serve; serve({os.getpid()}, {shown})"
    command = [sys.executable, *interpreter_options(), "-c", code]
    passed = (*inherited, shown) if shown != 2 else inherited
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, pass_fds=passed)
    finally:
        if shown != 2:
            os.close(shown)


def _standard_output() -> int:
    """A new descriptor of what this process prints to, beyond those of the standard streams; 2 where there is none to give."""
    if os.name != "posix" or sys.__stdout__ is None:  # closed: 1 is another file then
        return 2
    import fcntl

    return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)


def _end(processes: list[subprocess.Popen], busy: Collection[int], owner: int) -> None:
    """Let idle workers close what they keep, however long that takes, and end the others; wait until all are gone.

    :param busy: places of the others
    :param owner: number of the process that started them; a fork of it leaves them alone
    """
    if os.getpid() != owner:
        return
    try:
        for place, process in enumerate(processes):
            if place in busy:
                process.kill()
            with suppress(OSError):
                send(process.stdin, CLOSE)  # type: ignore[arg-type]
            with suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
        for process in processes:
            process.wait()
    finally:  # interrupted
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            with suppress(OSError):
                process.stdout.close()  # type: ignore[union-attr]
