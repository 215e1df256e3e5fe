"""Values in a file that is read without running code."""

import io
import pickle
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_trpo.checkpoints import plain

CPU = th.device("cpu")
TRANSPOSED = np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(0, 2, 1)
VALUES = [
    *(None, True, 7, 2**80, -1.5, float("inf"), 1j, "text", b"bytes", b"", bytearray(b"more")),
    *([1, [2.0, "x"]], (1, (2, ())), {"a": (1,), 3: [None]}, {1, 2}, frozenset({1, 2}), deque([1, 2], maxlen=3)),
    *(np.float32(0.1), np.float64(0.1), np.uint32(4), np.bool_(True), np.array(2.5), np.zeros((0, 3)), np.arange(6)[::2]),
    *(TRANSPOSED, np.asfortranarray(np.ones((2, 3))), np.array([1, 2], dtype=np.uint32)),
]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other) and one.dtype == other.dtype
    return one == other and type(one) is type(other)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_written_is_read(value: Any) -> None:
    read = plain.loads(plain.dumps(value), CPU)
    assert _equal(value, read)
    assert getattr(read, "maxlen", None) == getattr(value, "maxlen", None)


def test_an_array_lies_in_memory_as_it_did() -> None:
    """A network rounds differently for pictures whose channels come last in memory."""
    assert plain.loads(plain.dumps(TRANSPOSED), CPU).strides == TRANSPOSED.strides
    tensor = th.rand(2, 3, 5, 5).to(memory_format=th.channels_last)
    read = plain.loads(plain.dumps([tensor]), CPU)[0]
    assert th.equal(read, tensor) and read.stride() == tensor.stride()


class Named(tuple):
    """A tuple with a name is more than a tuple."""


@pytest.mark.parametrize(
    "value", [object(), print, Named((1,)), np.array([None]), np.array(["a"]), np.longdouble(1), {(1,): 2}]
)
def test_what_could_not_be_read_is_refused(value: Any) -> None:
    assert not plain.is_plain([value])
    with pytest.raises(TypeError):
        plain.dumps({"a": value})


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit",)


def test_reading_runs_no_code() -> None:
    file = io.BytesIO()
    th.save([Bomb()], file)
    with pytest.raises(pickle.UnpicklingError):
        plain.loads(file.getvalue(), CPU)
