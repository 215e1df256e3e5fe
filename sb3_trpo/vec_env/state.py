"""The state of a VecEnv with its wrappers, for another process that has built the same."""

import os
import pickle
from typing import Any, NamedTuple, TextIO

from stable_baselines3.common.env_util import unwrap_wrapper
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor, VecNormalize

from sb3_trpo.simulators import Models
from sb3_trpo.vec_env.layers import layers
from sb3_trpo.vec_env.rows import RowState, call_cloneable, clone_row_models, clone_rows, restore_rows

# What wrappers keep of all environments together, running statistics apart
_KEPT: dict[type[VecEnv], tuple[str, ...]] = {VecNormalize: ("old_obs", "old_reward"), VecMonitor: ("episode_count",)}
_PENDING = ("_seeds", "_options", "reset_infos")  # of the innermost: for the next reset, and from the last one


class VecEnvState(NamedTuple):
    """The state of all environments, running statistics apart. May be pickled.

    :param rows: of each environment with its row in the wrappers
    :param models: of each environment's simulators
    :param wrappers: what each wrapper keeps beside rows, outermost first
    :param innermost: what the innermost VecEnv keeps
    :param records: bytes of each environment's table of episodes, None where there is none to be reached
    """

    rows: list[RowState]
    models: list[Models]
    wrappers: list[dict[str, Any]]
    innermost: dict[str, Any]
    records: list[int | None]


def clone_vec_env(env: VecEnv) -> VecEnvState:
    """Save the state of a VecEnv, running statistics apart.

    :param env: as for :func:`~sb3_trpo.vec_env.clone_rows`
    :raises ValueError: if an environment or a wrapper cannot be copied; the message says which and what to do
    """
    rows = clone_rows(env)
    once: dict[bytes, Models] = {}  # models are large, and mostly all the same: a pickle has one object only once
    models = [once.setdefault(pickle.dumps(each), each) for each in clone_row_models(env)]
    wrappers = [_attributes(wrapper, _KEPT.get(type(wrapper), ())) for wrapper in layers(env)]
    records = [None if file is None else file.tell() for file in _tables(env)]
    return VecEnvState(rows, models, wrappers, _attributes(env.unwrapped, _PENDING), records)


def restore_vec_env(env: VecEnv, state: VecEnvState) -> None:
    """Bring a VecEnv into a saved state.

    :param env: built like the one whose state it is
    :param state: what :func:`clone_vec_env` returned
    :raises ValueError: if the VecEnv is built of other environments or wrappers, or has more or fewer of them
    """
    if len(state.rows) != env.num_envs:
        raise ValueError(f"The state is that of {len(state.rows)} environments, not of {env.num_envs}.")
    for index, models in enumerate(state.models):
        if models:
            call_cloneable(env.unwrapped, "restore_models", [index], (models,))
    restore_rows(env, state.rows)
    for wrapper, attributes in zip(layers(env), state.wrappers, strict=True):
        vars(wrapper).update(attributes)
    vars(env.unwrapped).update(state.innermost)
    for file, size in zip(_tables(env), state.records, strict=True):
        if file is not None and size is not None and os.path.getsize(file.name) > size:
            file.truncate(size)  # or the table would have later episodes twice


def _tables(env: VecEnv) -> list[TextIO | None]:
    """The file that each environment's ``Monitor`` writes."""
    inner = env.unwrapped
    if not isinstance(inner, DummyVecEnv):
        return [None] * inner.num_envs
    monitors = [unwrap_wrapper(each, Monitor) for each in inner.envs]
    return [each.results_writer.file_handler if each and each.results_writer else None for each in monitors]  # type: ignore


def _attributes(owner: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: vars(owner)[name] for name in names if name in vars(owner)}
