"""Functions and classes that cannot be found by a name: closures, and a script's or a notebook's own classes.

The variables of a closure belong to a function's state: lambdas that wrappers hold may count, or hold arrays.

A script's classes reach other processes by value, and have no name there. Another class may have that name, if the process has
run the script again to begin with (as processes that ``multiprocessing`` spawns do). That one belongs to ``__mp_main__``.
"""

import sys
import weakref
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pickle import UnpicklingError
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from sb3_trpo.simulators.layers import CannotCloneError, name_of

_NAMED = (type, ModuleType)
_CONSTANTS = (int, float, bool, str, bytes, complex, type(None), *_NAMED)

Key = tuple[Any, ...]  # a layer's depth, and the names that lead from its attributes to an object


def found_by_name(module: str, qualname: str) -> Any:
    """What a module has under a name; None if it has nothing there."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def has_name(function: FunctionType) -> bool:
    """Whether a function is found under its own name, so that the name can be saved in its place."""
    return found_by_name(function.__module__, function.__qualname__) is function


def fingerprint(function: FunctionType) -> bytes:
    """The same for the same code with the same constants for defaults and attributes, in every process.

    Of functions among these, those in the variables of their closures count, too: other ones may come in their place.
    """
    defaults = function.__defaults__, function.__kwdefaults__, vars(function)
    functions: list[FunctionType] = []
    content = [_content(function.__code__, functions), _content(defaults, functions)]
    if has_name(function):  # or its variables are saved separately
        functions += [cell.cell_contents for _, cell in cells(function) if type(cell.cell_contents) is FunctionType]
    seen: set[int] = set()
    while functions:
        value = functions.pop(0)
        if id(value) not in seen:
            seen.add(id(value))
            inner = [cell.cell_contents for _, cell in cells(value) if type(cell.cell_contents) is FunctionType]
            content.append((value.__module__, value.__qualname__, _content(value.__code__, functions)))
            functions += inner
    return blake2b(repr(content).encode(), digest_size=8).digest()


def _content(value: Any, functions: list[FunctionType]) -> Any:
    """What is compared of a value; functions in it are added to those that are compared as well."""
    if type(value) is FunctionType:
        functions.append(value)
        return "function"
    if isinstance(value, (tuple, list)):
        return tuple(_content(part, functions) for part in value)
    if isinstance(value, dict):
        return tuple((name, _content(part, functions)) for name, part in value.items())
    if isinstance(value, CodeType):
        constants = tuple(_content(part, functions) for part in value.co_consts)
        return value.co_name, value.co_firstlineno, value.co_code, value.co_names, constants
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value


def refuse_hidden_state(function: FunctionType, closure: bool = True, seen: set[int] | None = None) -> None:
    """Refuse a function that is not copied if it might keep something.

    :param function: its defaults and attributes must not change, nor those of functions among them
    :param closure: whether the variables of its closure must not change either (or are saved separately)
    :param seen: ids of functions that were looked at
    :raises TypeError: if they may: where else they are used is not known
    """
    seen = set() if seen is None else seen
    seen.add(id(function))
    kept = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values()]
    # Numbers and the like do not change, but a variable may be given another one; so it must be one that is not assigned to
    variables = [cell.cell_contents for _, cell in cells(function)] if closure else []
    hidden = not all(isinstance(value, (FunctionType, *_NAMED)) for value in variables)
    kept += variables
    while kept:
        value = kept.pop()
        if type(value) is tuple:
            kept += value
        elif type(value) is FunctionType:
            if id(value) not in seen:
                refuse_hidden_state(value, seen=seen)
        elif type(value) not in _CONSTANTS and not isinstance(value, _NAMED):
            hidden = True
    if hidden:
        raise TypeError(
            f"the function {function.__qualname__} has defaults, attributes or variables of its own that may change"
        )


def functions_in(function: FunctionType, key: Key) -> Iterator[tuple[Key, FunctionType]]:
    """A function and those its closure refers to, each with the names that lead to it, without those found by their names."""
    seen: set[int] = set()
    waiting = [(key, function)]
    while waiting:
        key, function = waiting.pop()
        if id(function) in seen or has_name(function):
            continue
        seen.add(id(function))
        yield key, function
        for name, cell in cells(function):
            if type(cell.cell_contents) is FunctionType:
                waiting.append(((*key, name), cell.cell_contents))


class SavedFunctions(NamedTuple):
    """Functions without their variables' values.

    :param functions: of each the key, what it does, and the keys of the variables of its closure
    :param empty: keys of the variables that have no value
    """

    functions: tuple[tuple[Key, bytes, tuple[Key, ...]], ...]
    empty: tuple[Key, ...]


class Closures:
    """The functions without names among attributes, each once, and each variable once, even if several functions share it.

    :param trusted: whether no class here replaces them by other functions: then their code is not compared
    """

    def __init__(self, trusted: bool):
        self._trusted = trusted
        self.found: dict[int, tuple[Key, FunctionType]] = {}
        self._cells: dict[int, tuple[Key, CellType]] = {}

    def add(self, function: FunctionType, key: Key) -> None:
        """Add a function, and those it refers to.

        :raises TypeError: see :func:`refuse_hidden_state`
        """
        for way, inner in functions_in(function, key):
            if id(inner) not in self.found:
                refuse_hidden_state(inner, closure=False)
                self.found[id(inner)] = way, inner
                for name, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True):
                    self._cells.setdefault(id(cell), ((*way, name), cell))

    def values(self) -> dict[Key, Any]:
        """The values of all variables that have one."""
        return {key: cell.cell_contents for key, cell in self._cells.values() if _has_value(cell)}

    def saved(self) -> SavedFunctions:
        functions = (
            (key, b"" if self._trusted else fingerprint(inner), tuple(self._cells[id(x)][0] for x in inner.__closure__ or ()))
            for key, inner in self.found.values()
        )
        return SavedFunctions(tuple(functions), tuple(key for key, cell in self._cells.values() if not _has_value(cell)))


class Matched:
    """A target's functions in the place of saved ones.

    A function is its code, its constants and its variables. So the target's own function under the same name is used, if it
    does the same and is not used for another one; other references to its variables then stay valid. If the target's
    attributes have their functions in another order, a new function with the same code is made.

    :param layers: of the target
    """

    def __init__(self, layers: list[Any]):
        self._layers = layers
        self.functions: list[FunctionType] = []
        self.cells: dict[Key, CellType] = {}
        self.empty: tuple[Key, ...] = ()

    def match(self, functions: Sequence[tuple[Key, bytes, tuple[Key, ...]]], empty: tuple[Key, ...]) -> None:
        """
        :raises CannotCloneError: if there is no function that does the same
        """
        own: dict[Key, FunctionType] = {}
        for depth, layer in enumerate(self._layers):
            for name, value in vars(layer).items():
                if type(value) is FunctionType:
                    own.update(functions_in(value, (depth, name)))
        used: set[int] = set()  # ids of functions and of variables
        matched = [self._claimed(own.get(key), code, keys, used) for key, code, keys in functions]
        for (key, code, keys), function in zip(functions, matched, strict=True):
            self.functions.append(function or self._made(own, key, code, keys))
        self.empty = empty

    def _claimed(
        self, function: FunctionType | None, code: bytes, keys: tuple[Key, ...], used: set[int]
    ) -> FunctionType | None:
        """The target's function, if it and its variables can be the saved ones."""
        if function is None or id(function) in used or not _does(function, code):
            return None
        closure = function.__closure__ or ()
        if len(closure) != len(keys):
            return None
        if any(
            self.cells.get(key, cell) is not cell or (key not in self.cells and id(cell) in used)
            for key, cell in zip(keys, closure, strict=True)
        ):
            return None
        self.cells.update(zip(keys, closure, strict=True))
        used.update(map(id, (function, *closure)))
        return function

    def _made(self, own: dict[Key, FunctionType], key: Key, code: bytes, keys: tuple[Key, ...]) -> FunctionType:
        candidates = [own[key]] if key in own else []
        like = next(
            (f for f in (*candidates, *own.values()) if _does(f, code) and len(f.__closure__ or ()) == len(keys)), None
        )
        if like is None:
            raise CannotCloneError(
                f"{name_of(type(self._layers[key[0]]))}.{key[1]}",
                "it is a function that is not found by its name and stays with its instance, and the one where the state is "
                "to be restored has another, or none yet: reset that once before",
            )
        return function_like(like, tuple(self.cells.setdefault(key, CellType()) for key in keys))


def _does(function: FunctionType, code: bytes) -> bool:
    return not code or fingerprint(function) == code


def function_like(function: FunctionType, closure: tuple[CellType, ...]) -> FunctionType:
    """A function with the same code and other variables."""
    new = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, closure or None)
    new.__kwdefaults__, new.__qualname__, new.__module__ = function.__kwdefaults__, function.__qualname__, function.__module__
    vars(new).update(vars(function))
    return new


def _has_value(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def cells(function: FunctionType) -> Iterator[tuple[str, CellType]]:
    """The variables of a function's closure that have a value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _has_value(cell):
            yield name, cell


_FOUND: "weakref.WeakValueDictionary[tuple[str, str], type]" = weakref.WeakValueDictionary()


def is_nameless(kind: type) -> bool:
    """Whether nothing is found under a class's name. Such a class is looked for among all classes instead."""
    module, name = kind.__module__, kind.__qualname__
    return "<locals>" not in name and getattr(found_by_name(module, name), "__module__", None) != module


def class_called(module: str, name: str) -> type:
    """The class of a name in this process, wherever it is.

    :raises UnpicklingError: if there is none, or more than one
    """
    found = found_by_name(module, name)
    if getattr(found, "__module__", None) != module:
        found = _FOUND.get((module, name))
    if found is None:
        every = [kind for kind in _subclasses(object, set()) if (kind.__module__, kind.__qualname__) == (module, name)]
        if len(every) != 1:
            raise UnpicklingError(f"there are {len(every)} classes called {module}.{name} here")
        found = _FOUND[module, name] = every[0]
    return found


def _subclasses(kind: type, seen: set[type]) -> Iterator[type]:
    subclass: type
    for subclass in type.__subclasses__(kind):
        if subclass not in seen:
            seen.add(subclass)
            yield subclass
            yield from _subclasses(subclass, seen)
