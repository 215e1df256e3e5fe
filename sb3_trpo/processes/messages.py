"""Messages between a process and its workers, over pipes."""

import io
import pickle
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle

_LENGTH_BYTES = 8
_loading = False


class Failure(NamedTuple):
    """Why a request was not fulfilled.

    :param line: says it in one line
    :param traceback: of the worker
    :param kind: of the error, as far as it is one of Python's own
    """

    line: str
    traceback: str
    kind: type[Exception]

    def error(self, where: str) -> Exception:
        """What to raise in the process that asked.

        :param where: it happened
        """
        return self.kind(f"{self.line} (in {where})\n{self.traceback}")


KINDS = (AttributeError, TypeError, ValueError, RuntimeError)


def failure(error: BaseException) -> Failure:
    """What is told of an error: one that says itself what failed has its cause's kind and traceback."""
    cause = error.__cause__ if isinstance(error, WorkerError) else error
    line = str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
    kind = next((kind for kind in KINDS if isinstance(cause, kind)), RuntimeError)
    return Failure(" ".join(line.split()), "".join(traceback.format_exception(cause)), kind)


class WorkerError(Exception):
    """An error in a worker that already says what failed, and where.

    :param line: the message
    """


def send(stream: io.RawIOBase, message: bytes) -> None:
    """Write a message.

    :raises OSError: if the other side is gone
    """
    data = memoryview(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
    while data:
        data = data[stream.write(data) :]


def receive(stream: io.RawIOBase) -> bytes | None:
    """The next message; None where the other side is gone."""
    length = _read(stream, _LENGTH_BYTES)
    return None if length is None else _read(stream, int.from_bytes(length, "big"))  # type: ignore[return-value]


def _read(stream: io.RawIOBase, size: int) -> bytearray | None:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = stream.readinto(rest)
        if not count:
            return None
        rest = rest[count:]
    return data


def dump_plain(value: Any) -> bytes:
    """Pickle what is made of known classes as a rule, and in any case if it is not."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return cloudpickle.dumps(value)


def dump(value: Any, pickler: type[cloudpickle.Pickler] = cloudpickle.Pickler) -> bytes:
    """Pickle what a user has made.

    What belongs to a module that is being imported is sent whole, as what belongs to ``__main__`` is: in the worker, the
    module would have to be imported, and would do once more what it is doing now.

    :param pickler: that does it
    """
    file = io.BytesIO()
    with _sent_whole(_being_imported()):
        pickler(file).dump(value)
    return file.getvalue()


def load(message: bytes) -> Any:
    """What a message has in it; in the worker, which may import modules for that."""
    global _loading
    before, _loading = _loading, True
    try:
        return pickle.loads(message)
    finally:
        _loading = before


def refuse_while_loading() -> None:
    """Refuse to start workers in the middle of an import that a worker makes: it would go on without end.

    :raises RuntimeError: in a worker that is about to learn what its object is made of
    """
    if _loading:
        raise RuntimeError(
            "A worker process has to import the module of a class or a function that it was given, and that module starts "
            'worker processes when it is imported: put what it runs under `if __name__ == "__main__":`, or in a function.'
        )


def _being_imported() -> list[ModuleType]:
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    return [module for module in modules if getattr(getattr(module, "__spec__", None), "_initializing", False)]


@contextmanager
def _sent_whole(modules: list[ModuleType]) -> Iterator[None]:
    mine = [module for module in modules if module.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in mine:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in mine:
            cloudpickle.unregister_pickle_by_value(module)
