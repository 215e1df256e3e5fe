"""Values that can be read from a file without running anybody's code: a form that PyTorch loads with ``weights_only``.

Tensors, numbers, texts, None, lists and dicts stand for themselves. What PyTorch would not load that way (tuples among them,
because they mark what follows) is a tuple of a name and the content.
"""

import io
from collections import deque
from typing import Any

import numpy as np
import torch as th

from sb3_trpo.memory_order import LaidOut

_ITSELF = (bool, int, float, complex, str, type(None))
_COLLECTIONS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any) -> Any:
    """
    :param value: made of the above, NumPy's arrays and numbers, tuples, sets, deques and bytes; classes derived from these are
        not among them, because they would come back as what they derive from
    :raises TypeError: for anything else
    """
    kind = type(value)
    if kind in _ITSELF:
        return value
    if kind is th.Tensor:
        return value.detach().clone()
    if kind is list:
        return [encode(part) for part in value]
    if kind is dict:
        if not all(type(key) in _ITSELF for key in value):
            raise TypeError("a dict with keys that are neither numbers nor texts")
        return {key: encode(part) for key, part in value.items()}
    if kind.__name__ in _COLLECTIONS and kind is _COLLECTIONS[kind.__name__]:
        return kind.__name__, [encode(part) for part in value]
    if kind is deque:
        return "deque", [encode(part) for part in value], value.maxlen
    if kind in (bytes, bytearray):
        return kind.__name__, th.frombuffer(bytearray(value), dtype=th.uint8) if value else th.empty(0, dtype=th.uint8)
    if kind is np.ndarray and value.dtype.isnative:
        # In the order of its memory, because a network rounds differently for an array that lies differently
        laid_out = LaidOut.of(value)
        return "array", th.tensor(np.asarray(laid_out.contiguous, order="C")), np.argsort(laid_out.axes).tolist()
    if isinstance(value, np.generic) and kind is value.dtype.type:
        return "scalar", th.tensor(np.asarray(value))  # a TypeError for objects and texts
    raise TypeError(f"a {kind.__module__}.{kind.__qualname__}")


def decode(value: Any) -> Any:
    """Inverse of :func:`encode`."""
    if type(value) is list:
        return [decode(part) for part in value]
    if type(value) is dict:
        return {key: decode(part) for key, part in value.items()}
    if type(value) is not tuple:
        return value
    name, content, *rest = value
    if name in _COLLECTIONS:
        return _COLLECTIONS[name](decode(content))
    if name == "deque":
        return deque(decode(content), *rest)
    if name in ("bytes", "bytearray"):
        return {"bytes": bytes, "bytearray": bytearray}[name](content.numpy())
    return content.numpy()[()] if name == "scalar" else content.numpy().transpose(*rest)


def is_plain(value: Any) -> bool:
    """Whether :func:`encode` takes it."""
    try:
        encode(value)
    except TypeError:
        return False
    return True


def dumps(value: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    th.save(encode(value), file)
    return file.getvalue()


def loads(data: bytes, device: th.device) -> Any:
    """Inverse of :func:`dumps`.

    :param device: for tensors that were not on a CPU
    """

    def place(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else storage.to(device)

    return decode(th.load(io.BytesIO(data), map_location=place, weights_only=True))
