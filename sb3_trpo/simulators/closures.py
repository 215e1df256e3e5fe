"""What a function keeps to itself: the variables of its closure. Lambdas that wrappers hold may count, or hold arrays."""

from collections.abc import Iterator
from types import CellType, FunctionType
from typing import Any

_CONSTANTS = (int, float, bool, str, bytes, complex, type(None), type, FunctionType)

Path = tuple[str, ...]


def functions_in(function: FunctionType, path: Path) -> list[tuple[Path, FunctionType]]:
    """A function and those its closure refers to, each with the names that lead to it.

    :raises TypeError: for a function with a mutable default or mutable attributes: where else those are used is not known
    """
    kept = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values()]
    if not all(isinstance(value, _CONSTANTS) for value in kept):
        raise TypeError(f"the function {function.__qualname__} has defaults or attributes that may change")
    found = [(path, function)]
    for name, cell in cells(function):
        content = cell.cell_contents
        if type(content) is FunctionType and content is not function:
            found += functions_in(content, (*path, name))
    return found


def cells(function: FunctionType) -> Iterator[tuple[str, CellType]]:
    """The variables of a function's closure that have a value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cell.cell_contents  # noqa: B018
        except ValueError:  # not assigned yet
            continue
        yield name, cell


def function_at(owner: dict[str, Any], path: Path) -> FunctionType:
    """The function that names lead to, from a layer's attributes."""
    function = owner[path[0]]
    for name in path[1:]:
        function = dict(cells(function))[name].cell_contents
    return function
