"""Classes of a script's or a notebook's own: other processes get them by value, and have them under no name.

In such a process there may be another class under the name, if it has run the script again to begin with (as processes that
``multiprocessing`` spawns do). That one belongs to the module ``__mp_main__``.
"""

import weakref
from collections.abc import Iterator
from pickle import UnpicklingError

from sb3_trpo.simulators.closures import found_by_name

_FOUND: "weakref.WeakValueDictionary[tuple[str, str], type]" = weakref.WeakValueDictionary()


def is_nameless(kind: type) -> bool:
    """Whether nothing is found where a class's name says; the class itself is, then, if it is looked for."""
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
