"""Functions that no name leads to: which one an attribute has, and what is in their variables."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest

from sb3_trpo.simulators import CannotCloneError, clone_state, restore_state
from tests.simulator_toys import Toy, Walk, assert_saved_and_copied


def scaled(factor: float) -> Callable[[float], float]:
    return lambda number: factor * number


def counting(start: int) -> tuple[Callable[[], int], Callable[[], int]]:
    """Two functions with one variable."""

    def up() -> int:
        nonlocal start
        start += 1
        return start

    return up, lambda: start


class Chosen(Toy):
    """One of two functions, under a third name."""

    def begin(self) -> None:
        self.easy, self.hard = scaled(1.0), scaled(3.0)
        self.now = self.easy

    def renew(self) -> None:
        self.now = (self.easy, self.hard)[self.np_random.integers(2)]

    def noise(self) -> float:
        if self.np_random.random() < 0.3:
            self.now = (self.easy, self.hard)[self.np_random.integers(2)]
        return self.now(1.0) + 10.0 * self.easy(1.0) + 100.0 * self.hard(1.0)


class ChosenFirst(Chosen):
    """The name that changes comes first."""

    def begin(self) -> None:
        self.now = scaled(1.0)
        self.easy, self.hard = self.now, scaled(3.0)


class Swapped(Chosen):
    def renew(self) -> None:
        if self.np_random.random() < 0.5:
            self.easy, self.hard = self.hard, self.easy


class Merged(Chosen):
    """One function under all names, or three."""

    def renew(self) -> None:
        self.easy, self.hard = scaled(1.0), scaled(3.0)
        if self.np_random.random() < 0.5:
            self.easy = self.hard
        self.now = self.easy


class Sharing(Toy):
    """Functions that count together, or each for itself."""

    def begin(self) -> None:
        self.up, self.count = counting(0)

    def renew(self) -> None:
        self.up, self.count = counting(0)
        if self.np_random.random() < 0.5:
            self.count = counting(5)[1]

    def noise(self) -> float:
        return self.up() + 0.01 * self.count()


class Within(Chosen):
    """The choice is in a variable of another function."""

    def begin(self) -> None:
        super().begin()
        self.choose, self.chosen = self.holding(self.easy)

    def holding(self, now: Any) -> Any:
        def choose(function: Any) -> None:
            nonlocal now
            now = function

        return choose, lambda number: now(number)

    def renew(self) -> None:
        self.choose((self.easy, self.hard)[self.np_random.integers(2)])

    def noise(self) -> float:
        return self.chosen(1.0) + 10.0 * self.easy(1.0) + 100.0 * self.hard(1.0)


class Unassigned(Toy):
    """A variable that has a value now and then."""

    def begin(self) -> None:
        number = 0.0

        def put(value: float | None) -> None:
            nonlocal number
            number = 0.0
            if value is None:
                del number
            else:
                number = value

        def get() -> float:
            try:
                return number
            except NameError:
                return -100.0

        self.put, self.get = put, get

    def noise(self) -> float:
        found = self.get()
        self.put(None if self.np_random.random() < 0.5 else float(self.np_random.integers(9)))
        return found


ENVIRONMENTS: dict[str, Callable[[], gym.Env]] = {
    kind.__name__: kind for kind in (Chosen, ChosenFirst, Swapped, Merged, Sharing, Within, Unassigned)
}


@pytest.mark.parametrize("name", list(ENVIRONMENTS))
def test_functions_and_their_variables_are_saved(name):
    assert_saved_and_copied(ENVIRONMENTS[name])


def test_what_else_refers_to_a_functions_variables_goes_on_seeing_them():
    env = Toy()
    up, env.count = counting(0)  # type: ignore[attr-defined]
    state = clone_state(env)
    up()
    restore_state(env, state)
    assert env.count() == 0 and up() == env.count() == 1  # type: ignore[attr-defined]


def choosing() -> Any:
    """A function that has another one for a default, which has a third in its closure."""
    inner = scaled

    def switch() -> None:
        nonlocal inner
        inner = counting  # type: ignore[assignment]

    def function(*, of: Any = lambda: inner) -> Any:
        return of()

    return function, switch


def test_a_function_in_a_variable_of_a_default_is_compared():
    env = Walk()
    env.function, switch = choosing()  # type: ignore[attr-defined]
    state = clone_state(env)
    restore_state(env, state)
    switch()
    with pytest.raises(CannotCloneError, match=r"Walk\.function"):
        restore_state(env, state)
