"""Whether an environment's state is really copied whole: tried, not trusted."""

import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from sb3_trpo.discrete import draw_action, mask_of
from sb3_trpo.simulators.copies import copy_env
from sb3_trpo.simulators.layers import Stack
from sb3_trpo.simulators.state import clone_state, restore_state

_OUTPUTS = ("mask of actions", "observation", "reward", "terminated", "truncated", "info")
_DIRTY_STEPS = 17  # any number that is not the one before the state is saved
_TIMED = 20


@dataclass(frozen=True)
class CloneReport:
    """What :func:`check_clone` found.

    :param name: the environment with its wrappers
    :param steps: steps that were compared
    :param difference: the first output that differed, at which step and in which instance; None if the copy is exact
    :param clone_microseconds: time of ``clone_state``, median
    :param restore_microseconds: time of ``restore_state``, median
    :param size: bytes of the pickled state
    """

    name: str
    steps: int
    difference: str | None
    clone_microseconds: float
    restore_microseconds: float
    size: int

    @property
    def exact(self) -> bool:
        """Whether every output was the same, bit for bit."""
        return self.difference is None

    def __str__(self) -> str:
        verdict = f"exact over {self.steps} steps" if self.exact else f"NOT exact: {self.difference}"
        cost = f"clone {self.clone_microseconds:.0f} µs, restore {self.restore_microseconds:.0f} µs, {self.size:,} bytes"
        return f"{self.name}: {verdict} ({cost})"


def check_clone(
    env: gym.Env, other: gym.Env | None = None, n_steps: int = 200, warm_up: int = 20, seed: int = 0, infos: bool = True
) -> CloneReport:
    """Save the state of an environment, restore it elsewhere, and see whether everything that follows is the same.

    The state goes through ``pickle``, into a second instance (a new one, if it is made here, and once it has been used), and
    into the first one, there once more with steps of the other instance in between. Each time the same random actions are
    taken, episodes are begun anew where they end and once in between, and observation, reward, terminated, truncated and info
    are compared bit for bit; only the clock ``["episode"]["t"]`` in an info is not. Where the environment has a method
    ``action_masks``, possible actions are taken, and masks are compared, too.

    :param env: is reset with ``seed`` and stepped
    :param other: another instance built the same way; None to have one made (see :func:`copy_env`)
    :param n_steps: steps compared, ≥ 1
    :param warm_up: steps before the state is saved, ≥ 0
    :param seed: of the actions and of ``env``
    :param infos: whether to compare infos, too
    :return: the first difference, or that there is none, and what a copy costs
    :raises ValueError: for a number of steps out of range, or another instance that is not built the same way
    :raises CannotCloneError: (a ``ValueError``) if the state is refused outright
    """
    if n_steps < 1 or warm_up < 0:
        raise ValueError(f"n_steps={n_steps}, warm_up={warm_up}: compare at least one step, after none or more.")
    if other is not None and Stack.of(other).names != Stack.of(env).names:
        raise ValueError(f"{other} is not built as {env} is: give an instance with the same layers, or None.")
    with _early_resets(env, other):
        return _check(env, other, n_steps, warm_up, seed, infos)


@contextmanager
def _early_resets(*envs: gym.Env | None) -> Iterator[None]:
    """Let SB3's Monitors be reset within an episode, also those that do not allow it."""
    layers = [layer for env in envs if env is not None for layer in Stack.of(env).everything]
    strict = [layer for layer in layers if getattr(layer, "allow_early_resets", True) is False]
    for layer in strict:
        layer.allow_early_resets = True
    try:
        yield
    finally:
        for layer in strict:
            layer.allow_early_resets = False


def _check(env: gym.Env, other: gym.Env | None, n_steps: int, warm_up: int, seed: int, infos: bool) -> CloneReport:
    actions = deepcopy(env.action_space)
    actions.seed(seed)
    env.reset(seed=seed)
    _run(env, warm_up, actions)
    new = copy_env(env) if other is None else None
    data = pickle.dumps(clone_state(env))
    state = pickle.loads(data)
    plan: list[Any] = []
    expected = [_kept(outputs) for outputs in _steps(env, n_steps, actions, plan)]
    restore_state(env, state)

    difference = None
    if new is not None:  # was never reset before the state came into it
        found = _first_difference(expected, _steps(new, n_steps, plan), infos)
        difference = found and f"{found} in a new instance"
    other = new if other is None else other
    assert other is not None
    other.reset(seed=seed + 1)
    _run(other, _DIRTY_STEPS, actions)
    for instance, where in ((other, "another instance"), (env, "the same instance")):
        if difference is None:
            restore_state(instance, state)
            found = _first_difference(expected, _steps(instance, n_steps, plan), infos)
            difference = found and f"{found} in {where}"
    if difference is None:
        restore_state(env, state)
        other.reset(seed=seed + 2)
        found = _first_difference(expected, _beside(env, plan, other, actions), infos)
        difference = found and f"{found} while another instance was stepped, which must share something with it"
    restore_state(env, state)
    clone = _microseconds(lambda: clone_state(env))
    restore = _microseconds(lambda: restore_state(env, state))
    return CloneReport(" < ".join(Stack.of(env).names), n_steps, difference, clone, restore, len(data))


def _steps(
    env: gym.Env, n_steps: int, actions: gym.Space | list[Any], taken: list[Any] | None = None
) -> Iterator[tuple[Any, ...]]:
    """Mask and outputs of every step, with those of a reset where an episode ends, and halfway.

    :param actions: a space to draw them from, or the actions themselves
    :param taken: gets those that are taken
    """
    for step in range(n_steps):
        mask = mask_of(env, env.action_space)
        action = actions[step] if isinstance(actions, list) else draw_action(actions, mask)
        if taken is not None:
            taken.append(action)
        outputs = (mask, *env.step(deepcopy(action)))  # which the environment may write into
        ended = outputs[3] or outputs[4] or step + 1 == n_steps // 2
        yield (*outputs, *env.reset()) if ended else outputs


def _beside(env: gym.Env, plan: list[Any], other: gym.Env, actions: gym.Space) -> Iterator[tuple[Any, ...]]:
    """Outputs of every step of an environment, with a step of another one, in a state of its own, after each."""
    n_steps = len(plan)
    for outputs, _ in zip(map(_kept, _steps(env, n_steps, plan)), _steps(other, n_steps, actions), strict=True):
        yield outputs


def _run(env: gym.Env, n_steps: int, actions: gym.Space) -> None:
    for _ in _steps(env, n_steps, actions):
        pass


def _kept(outputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A copy of outputs, because the environment may write to them later; what cannot be copied is kept itself."""
    try:
        return deepcopy(outputs)
    except Exception:
        return tuple(map(_kept, outputs)) if type(outputs) is tuple else outputs


def _first_difference(expected: Sequence[tuple[Any, ...]], actual: Iterator[tuple[Any, ...]], infos: bool) -> str | None:
    names = (*_OUTPUTS, "observation after reset", "info after reset")
    for step, (reference, outputs) in enumerate(zip(expected, actual, strict=True)):
        for name, left, right in zip(names, reference, outputs):  # noqa: B905 (a step without a reset has fewer)
            where = _difference(left, right, name) if infos or not name.startswith("info") else None
            if where is not None:
                return f"{where} at step {step}"
    return None


def _difference(left: Any, right: Any, name: str) -> str | None:
    """Where two outputs are not the same bit for bit, or None."""
    if type(left) is not type(right):
        return name
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return name
        keys = left.keys() - {"t"} if name.endswith("['episode']") else left
        items = ((f"{name}[{key!r}]", left[key], right[key]) for key in keys)
    elif isinstance(left, (list, tuple)):
        if len(left) != len(right):
            return name
        items = ((f"{name}[{index}]", *pair) for index, pair in enumerate(zip(left, right, strict=True)))
    elif isinstance(left, (np.ndarray, np.generic, float)):
        left, right = np.asarray(left), np.asarray(right)
        if left.dtype != right.dtype or left.shape != right.shape:
            return name
        if left.dtype.hasobject:
            return _difference(left.tolist(), right.tolist(), name)
        return None if left.tobytes() == right.tobytes() else name
    else:
        return None if _equal(left, right) else name
    return next((found for where, a, b in items if (found := _difference(a, b, where)) is not None), None)


def _equal(left: Any, right: Any) -> bool:
    """Whether objects of any kind say that they are equal, tensors among them."""
    try:
        same = left == right
        return bool(same.all() if hasattr(same, "all") else same)
    except Exception:
        return False


def _microseconds(call: Any) -> float:
    times = []
    for _ in range(_TIMED):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e6 * float(np.median(times))
