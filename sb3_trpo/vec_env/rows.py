"""Exact save and restore of single environments of a VecEnv: their own state, and their row in every VecEnv wrapper.

Statistics that belong to all environments together, VecNormalize's running means and VecMonitor's file, are not state of
one of them and stay where they are. Nor is the last observation, which is the caller's to keep.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from sb3_trpo import simulators
from sb3_trpo.checks import check_type
from sb3_trpo.simulators import CannotCloneError, CloneableEnv, Models, SimulatorState
from sb3_trpo.vec_env.layers import frame_stacks, layers
from sb3_trpo.vec_env.worker_envs import HostedRows
from sb3_trpo.vec_env.worker_vec_env import WorkerVecEnv

# Arrays with a row for every environment that decide what a wrapper does next
_ROWS: dict[type[VecEnvWrapper], tuple[str, ...]] = {
    VecNormalize: ("returns",),
    VecMonitor: ("episode_returns", "episode_lengths"),
    VecTransposeImage: (),
    VecCheckNan: (),
    VecExtractDictObs: (),
}


class RowState(NamedTuple):
    """The state of one environment of a VecEnv. Opaque and reusable; may be pickled.

    :param env: of the environment itself
    :param rows: of the VecEnv's wrappers, outermost first
    :param models: of its simulators, to be restored before it in another instance; None to leave those as they are
    """

    env: SimulatorState
    rows: tuple[tuple[np.ndarray, ...], ...]
    models: Models | None = None


def clone_rows(env: VecEnv, indices: Sequence[int] | np.ndarray | None = None) -> list[RowState]:
    """Save the state of some environments.

    :param env: a DummyVecEnv, a WorkerVecEnv, or a SubprocVecEnv whose environments are wrapped in
        :class:`~sb3_trpo.simulators.CloneableEnv`, in SB3's own wrappers
    :param indices: which environments; None for all
    :raises ValueError: if an environment or a wrapper cannot be copied, or if there is no such environment; the message says
        which and what to do
    :raises TypeError: for something else than a VecEnv, or indices that are none
    """
    indices = _checked_indices(env, indices)
    arrays = _arrays(env)
    _check_inner(env.unwrapped)
    states = call_cloneable(env.unwrapped, "clone_state", indices)
    return [
        RowState(state, tuple(tuple(array[index].copy() for array in layer) for layer in arrays))
        for index, state in zip(indices, states, strict=True)
    ]


def clone_row_models(env: VecEnv) -> list[Models]:
    """Save the models of all environments' simulators (see :func:`~sb3_trpo.simulators.clone_models`).

    :param env: as for :func:`clone_rows`
    """
    _check_inner(env.unwrapped)
    return call_cloneable(env.unwrapped, "clone_models", range(env.num_envs))


def restore_rows(env: VecEnv, states: Sequence[RowState], indices: Sequence[int] | np.ndarray | None = None) -> None:
    """Bring environments into saved states, of this VecEnv or of another one built the same way.

    :param env: the VecEnv, with any number of environments
    :param states: what :func:`clone_rows` returned, in the order of ``indices``
    :param indices: which environments; None for all
    :raises ValueError: as for :func:`clone_rows`, or if the VecEnv is built of other wrappers, or if there are not as many
        states as indices; nothing has been touched then
    :raises TypeError: for states that are none, swapped with the indices perhaps; nothing has been touched then
    """
    indices = _checked_indices(env, indices)
    for state in states:
        if not isinstance(state, RowState):
            raise TypeError(
                f"states has an object of type {type(state).__name__} in it, which clone_rows did not return: the order of "
                "arguments is restore_rows(env, states, indices)."
            )
    arrays = _arrays(env)
    _check_inner(env.unwrapped)
    if len(indices) != len(states):
        raise ValueError(f"There are {len(states)} states for {len(indices)} environments.")
    shapes = [[(array.dtype, array.shape[1:]) for array in layer] for layer in arrays]
    for state in states:
        if [[(row.dtype, row.shape) for row in layer] for layer in state.rows] != shapes:
            raise ValueError("The state was saved in a VecEnv with other wrappers: build both the same way.")
    _detach_frame_stacks(env)
    arrays = _arrays(env)
    for index, state in zip(indices, states, strict=True):
        call_cloneable(env.unwrapped, "restore_state", [index], (state.env,))
        for layer, rows in zip(arrays, state.rows, strict=True):
            for array, row in zip(layer, rows, strict=True):
                array[index] = row


def _checked_indices(env: Any, indices: Any) -> list[int]:
    """Which environments are meant, as a list; refuse arguments in another order, masks, and what is out of range."""
    if not isinstance(env, VecEnv):
        raise TypeError(f"The first argument is of type {type(env).__name__}: give the VecEnv first, then states or indices.")
    if indices is None:
        return list(range(env.num_envs))
    check_type("indices", indices, (Sequence, np.ndarray), "a sequence of whole numbers, such as [0]")
    for index in indices:
        if isinstance(index, RowState):
            raise TypeError("indices has a state in it: the order of arguments is restore_rows(env, states, indices).")
        if isinstance(index, (bool, np.bool_)) or not isinstance(index, (int, np.integer)):
            raise TypeError(f"indices has {index!r} in it: give whole numbers; of a mask, numpy.flatnonzero(mask).")
        if not 0 <= index < env.num_envs:
            raise ValueError(f"There is no environment {index}: give indices from 0 to {env.num_envs - 1}.")
    return [int(index) for index in indices]


def call_cloneable(env: VecEnv, method: str, indices: Sequence[int], arguments: tuple = ()) -> list[Any]:
    """What a function of ``simulators``, or CloneableEnv's method of the same name, gives for some environments.

    :param env: a DummyVecEnv, a WorkerVecEnv, or a SubprocVecEnv of environments that are wrapped in CloneableEnv
    :param method: its name
    :param indices: which environments
    :param arguments: beside the environment
    """
    if isinstance(env, DummyVecEnv):
        return [getattr(simulators, method)(environment_at(env, index), *arguments) for index in indices]
    if isinstance(env, WorkerVecEnv):
        return env.call_cloneable(method, indices, arguments)
    return env.env_method(method, *arguments, indices=list(indices))


def environment_at(env: DummyVecEnv, index: int) -> Env:
    """One environment; states are those of what CloneableEnv wraps, as they are where it must be called by name.

    :param env: the environments
    :param index: which
    """
    inner = env.envs[index]
    return inner.env if type(inner) is CloneableEnv else inner


def _arrays(env: VecEnv) -> list[list[np.ndarray]]:
    """Every wrapper's arrays with a row for each environment, outermost wrapper first."""
    arrays = []
    for wrapper in layers(env):
        if type(wrapper) is VecFrameStack:
            arrays.append([part.stacked_obs for part in frame_stacks(wrapper.stacked_obs)])
        elif type(wrapper) in _ROWS:
            arrays.append([getattr(wrapper, name) for name in _ROWS[type(wrapper)]])
        else:
            known = ", ".join(["VecFrameStack", *(kind.__name__ for kind in _ROWS)])
            raise ValueError(
                f"What the VecEnv wrapper {type(wrapper).__name__} keeps of its environments cannot be copied: use a "
                f"gymnasium wrapper around each environment instead, or one of {known}."
            )
    return arrays


def _detach_frame_stacks(env: VecEnv) -> None:
    """Frame stacks are handed out as observations: write into copies, because a caller may still hold them."""
    for wrapper in layers(env):
        if isinstance(wrapper, VecFrameStack):
            for part in frame_stacks(wrapper.stacked_obs):
                part.stacked_obs = part.stacked_obs.copy()


def _check_inner(env: VecEnv) -> None:
    """Refuse environments that cannot be reached, or whose VecEnv may keep something of its own for each."""
    if type(env) in (DummyVecEnv, HostedRows, WorkerVecEnv):
        return
    if type(env) is not SubprocVecEnv:
        name = type(env).__name__
        raise ValueError(f"The environments of a {name} cannot be reached: use a DummyVecEnv or a WorkerVecEnv.")
    outermost = set(env.env_method("class_name"))
    if outermost != {CloneableEnv.class_name()}:
        raise CannotCloneError(
            "the environments of a SubprocVecEnv",
            "they live in other processes, and their outermost wrapper is not CloneableEnv",
            "Make them with make_vec_env(..., vec_env_cls=SubprocVecEnv, wrapper_class=sb3_trpo.simulators.CloneableEnv), or "
            "use vec_env_cls=sb3_trpo.WorkerVecEnv, whose environments need no wrapper.",
        )
