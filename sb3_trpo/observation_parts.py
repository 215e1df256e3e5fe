"""An observation is one array or, in a ``Dict`` space, a dict of arrays: what is done to an array is done to each of them."""

from collections.abc import Callable
from typing import Any


def map_parts(function: Callable[..., Any], *observations: Any) -> Any:
    """The function's result, or a dict of its results for each part.

    :param function: of as many arrays as there are observations
    :param observations: arrays, or dicts of arrays with the same keys
    """
    first = observations[0]
    if isinstance(first, dict):
        return {key: function(*(each[key] for each in observations)) for key in first}
    return function(*observations)


def parts_of(observation: Any) -> list[Any]:
    """The array alone, or all of a dict's.

    :param observation: an array, or a dict of arrays
    """
    return list(observation.values()) if isinstance(observation, dict) else [observation]
