"""What a function keeps to itself: the variables of its closure. Lambdas that wrappers hold may count, or hold arrays."""

import sys
from collections.abc import Iterator
from hashlib import blake2b
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from sb3_trpo.simulators.known_classes import name_of
from sb3_trpo.simulators.stack import CannotCloneError

_NAMED = (type, ModuleType)
_CONSTANTS = (int, float, bool, str, bytes, complex, type(None), *_NAMED)

Path = tuple[str, ...]
CODE = "__code__"  # stands among a function's variables for what it does


def found_by_name(module: str, qualname: str) -> Any:
    """What a module has under a name; None if it has nothing there."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def has_name(function: FunctionType) -> bool:
    """Whether a function is found where its name says, so that the name stands for it."""
    return found_by_name(function.__module__, function.__qualname__) is function


def fingerprint(function: FunctionType) -> bytes:
    """The same for the same code with the same constants for defaults and attributes, in every process."""
    defaults = function.__defaults__, function.__kwdefaults__, vars(function)
    return blake2b(repr((_content(function.__code__), _content(defaults))).encode(), digest_size=8).digest()


def _content(value: Any) -> Any:
    if isinstance(value, FunctionType):
        return value.__module__, value.__qualname__, _content(value.__code__)  # not its defaults: it may be its own attribute
    if isinstance(value, (tuple, list)):
        return tuple(map(_content, value))
    if isinstance(value, dict):
        return tuple((name, _content(part)) for name, part in value.items())
    if isinstance(value, CodeType):
        return value.co_name, value.co_firstlineno, value.co_code, value.co_names, *map(_content, value.co_consts)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value


def refuse_hidden_state(function: FunctionType, closure: bool = True, seen: set[int] | None = None) -> None:
    """Refuse a function that is not copied if it might keep something.

    :param function: its defaults and attributes must not change, nor those of functions among them
    :param closure: whether the variables of its closure must not change either (or are saved by themselves)
    :param seen: ids of functions that were looked at
    :raises TypeError: if they may: where else they are used is not known
    """
    seen = set() if seen is None else seen
    seen.add(id(function))
    kept = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values()]
    # Numbers and the like do not change, but a variable may be given another one
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
        elif not isinstance(value, _CONSTANTS):
            hidden = True
    if hidden:
        raise TypeError(
            f"the function {function.__qualname__} has defaults, attributes or variables of its own that may change"
        )


def functions_in(function: FunctionType, path: Path) -> dict[int, tuple[Path, FunctionType]]:
    """A function and those its closure refers to, each by its id with the names that lead to it.

    Functions that are found by their names are not among them.

    :raises TypeError: see :func:`refuse_hidden_state`
    """
    found: dict[int, tuple[Path, FunctionType]] = {}
    waiting = [(path, function)]
    while waiting:
        path, function = waiting.pop()
        if id(function) in found or has_name(function):
            continue
        refuse_hidden_state(function, closure=False)
        found[id(function)] = path, function
        for name, cell in cells(function):
            if type(cell.cell_contents) is FunctionType:
                waiting.append(((*path, name), cell.cell_contents))
    return found


def contents(function: FunctionType, path: Path, trusted: bool) -> dict[Path, Any]:
    """What functions keep to themselves, by the names that lead to it, with fingerprints of what they do.

    :param function: one that is not found by its name
    :param path: leads to it
    :param trusted: whether it is known that nobody puts another function in its place: no fingerprints then
    :raises TypeError: see :func:`refuse_hidden_state`
    """
    functions = functions_in(function, path)
    found: dict[Path, Any] = {}
    for way, inner in functions.values():
        if not trusted:
            found[(*way, CODE)] = fingerprint(inner)
        for name, cell in cells(inner):
            if id(cell.cell_contents) not in functions:
                found[(*way, name)] = cell.cell_contents
    return found


def put(layer: Any, path: Path, value: Any) -> None:
    """Undo :func:`contents` in a layer's attributes, or set one of them.

    :raises CannotCloneError: if there is no such function, or it does something else
    """
    owner = vars(layer)
    if len(path) == 1:
        owner[path[0]] = value
        return
    try:
        function = function_at(owner, path[:-1])
        if path[-1] != CODE:
            _cell(function, path[-1]).cell_contents = value
            return
        same = fingerprint(function) == value
    except (KeyError, AttributeError):
        same = False
    if not same:
        raise CannotCloneError(
            f"{name_of(type(layer))}.{path[0]}",
            "it is a function that is not found by its name and stays with its instance, and the one where the state is to "
            "be restored has another, or none yet: reset that once before",
        )


def cells(function: FunctionType) -> Iterator[tuple[str, CellType]]:
    """The variables of a function's closure that have a value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cell.cell_contents  # noqa: B018
        except ValueError:  # not assigned yet
            continue
        yield name, cell


def _cell(function: FunctionType, name: str) -> CellType:
    """A variable of a function's closure, with or without a value."""
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))[name]


def function_at(owner: dict[str, Any], path: Path) -> FunctionType:
    """The function that names lead to, from a layer's attributes.

    :raises KeyError: if they lead nowhere
    """
    function = owner[path[0]]
    for name in path[1:]:
        function = dict(cells(function))[name].cell_contents
    return function
