"""Classes whose instances are pickled with all they consist of."""

import copyreg
import re
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any

import numpy as np

from sb3_trpo.simulators.known_classes import name_of

# Classes that pickle themselves whole, or whose subclasses inherit pickling that is.
_WHOLE = frozenset(
    """builtins.object builtins.set builtins.frozenset builtins.bytearray builtins.complex builtins.range builtins.slice
    builtins.BaseException builtins.ellipsis builtins.NotImplementedType collections.deque collections.OrderedDict
    functools.partial array.array enum.Enum numpy.dtype logging.Logger types.SimpleNamespace""".split()
)
_WHOLE_MODULES = ("gymnasium.spaces.", "numpy.dtypes.")
# Classes that do, but whose subclasses would lose what they add.
_EXACT = frozenset(
    """collections.defaultdict collections.Counter datetime.date datetime.datetime datetime.time datetime.timedelta
    datetime.timezone decimal.Decimal fractions.Fraction uuid.UUID itertools.count
    pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath pathlib.PureWindowsPath pathlib._local.PosixPath
    pathlib._local.WindowsPath pathlib._local.PurePosixPath pathlib._local.PureWindowsPath logging.RootLogger
    pygame.rect.Rect pygame.rect.FRect""".split()
)
_REGISTERED = (complex, re.Pattern, UnionType, np.ufunc)  # whose functions in copyreg are Python's and NumPy's
_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def _is_whole(kind: type) -> bool:
    """Whether instances of a class are pickled with all they consist of."""
    if kind is object or hasattr(kind, "__del__"):
        return False  # known by its identity only; or there is something to end, which a copy would end, too
    if name_of(kind) in _EXACT:
        return True
    if kind in copyreg.dispatch_table:
        return kind in _REGISTERED
    if issubclass(kind, np.generic):
        return kind in _SCALARS
    return all(_leaves_nothing_out(kind, hook) for hook in _HOOKS)


_SCALARS = frozenset(np.sctypeDict.values()) - {np.void, np.object_}  # a np.void may look into an array


def _leaves_nothing_out(kind: type, hook: str) -> bool:
    definer: Any = next((base for base in kind.__mro__ if hook in vars(base)), object)
    if getattr(vars(definer).get(hook), "__module__", None) == "dataclasses":
        return kind.__dictoffset__ == 0  # written by Python for frozen dataclasses with slots: takes all slots
    return name_of(definer) in _WHOLE or name_of(definer).startswith(_WHOLE_MODULES)


is_whole: Callable[[type], bool] = cache(_is_whole)


def why_not(kind: type) -> str:
    """Why a class is not among them."""
    if kind is object:
        return "it is a bare object(), which is known by its identity only, and a copy would be another"
    if hasattr(kind, "__del__"):
        return f"{name_of(kind)} ends something when it goes (__del__), and a copy would end it, too"
    return f"{name_of(kind)} pickles itself in its own way, and may leave something out"
