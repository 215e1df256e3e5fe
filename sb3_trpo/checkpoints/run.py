"""The state of a whole run at the beginning of a rollout: taken from an algorithm that learns, and given to another.

Two parts: what is made of numbers, texts and arrays, which is read without running code, and the rest, which is unpickled:
environments, and what callbacks and algorithms keep in objects of their own. The algorithm's zip is not among it.
"""

import pickle
import time
import zlib
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sb3_trpo.checkpoints import plain
from sb3_trpo.checkpoints.callback_states import environments_of, load_state, named, state_of
from sb3_trpo.checkpoints.logs import load_pending, outputs_of, pending_of
from sb3_trpo.checkpoints.randomness import random_states, set_random_states
from sb3_trpo.policy.snapshot import PLAIN
from sb3_trpo.ranks import ALONE
from sb3_trpo.vec_env import clone_vec_env, restore_vec_env, running_statistics

ENVIRONMENTS_STAND = ("_last_obs", "_last_episode_starts", "_last_original_obs")  # attributes that say where
_OWN = ("_custom_logger", "_resumption", "_going_on", "_total_timesteps")  # attributes of this call of ``learn``
CARRIED = ("_last_lstm_states",)  # attributes beyond plain values, of algorithms without ``carried``
_SPACES = ("action_space", "observation_space")


class RunState(NamedTuple):
    """
    :param values: made of numbers, texts and arrays
    :param objects: pickled and compressed
    """

    values: dict[str, Any]
    objects: bytes

    @classmethod
    def of(cls, model: OnPolicyAlgorithm, root: BaseCallback, iterations: int, left_out: Collection[str]) -> "RunState":
        """The state at the beginning of a rollout.

        :param model: learns
        :param root: ``learn``'s callback, with all that it calls
        :param iterations: rollouts since the run began
        :param left_out: names of environments whose state cannot be copied (see :func:`environments`)
        :raises ValueError: if an environment cannot be copied; the message says which and what to do
        """
        env = model.get_env()
        assert env is not None
        states = {name: clone_vec_env(each) for name, each in environments(model, root).items() if name not in left_out}
        callbacks = {name: state_of(callback) for name, callback in named(root).items()}
        attributes = {name: value for name, value in vars(model).items() if name not in _OWN and plain.is_plain(value)}
        common = _common_generator(model)
        values: dict[str, Any] = {
            "iterations": iterations,
            "elapsed": time.time_ns() - model.start_time,
            "attributes": attributes,
            "policy": dict(_values_in(model.policy)),
            "noise": {name: value for name, value in vars(model.policy.action_dist).items() if isinstance(value, th.Tensor)},
            "statistics": [(each.mean, each.var, each.count) for _, _, each in running_statistics(env)],
            "callbacks": {name: state for name, state in callbacks.items() if plain.is_plain(state)},
            "log": pending_of(model.logger),
            "outputs": outputs_of(model.logger),
            "random": random_states(),
            "common_random": None if common is None else common.get_state(),
        }
        if not plain.is_plain(values["log"]):
            values["log"] = pending_of(type(model.logger)(None, []))  # images and the like are logged once more
        objects = {
            "environments": states,
            "spaces": {name: _generators(model, name) for name in _SPACES},
            "attributes": {name: vars(model)[name] for name in getattr(model, "carried", CARRIED) if name in vars(model)},
            "callbacks": {name: state for name, state in callbacks.items() if name not in values["callbacks"]},
        }
        return cls(values, zlib.compress(pickle.dumps(objects, protocol=5), level=1))

    def _load(self) -> dict[str, Any]:
        return pickle.loads(zlib.decompress(self.objects))

    def restore_environments(self, env: VecEnv) -> None:
        """Bring environments into this state.

        :param env: with its wrappers
        :raises ValueError: if the checkpoint has none, or they are built in another way
        """
        saved = self._load()["environments"]
        if "" not in saved:
            raise ValueError('The checkpoint was saved without environments, with inexact="restart".')
        restore_vec_env(env, saved[""])

    def restore_model(self, model: OnPolicyAlgorithm, except_for: Collection[str], with_environments: bool) -> None:
        """Bring an algorithm, its environments and all random generators into this state; parameters are in the zip.

        :param model: of the same class and settings
        :param except_for: names of settings that were changed
        :param with_environments: False to leave these where they are
        :raises ValueError: if the environments are built in another way
        """
        objects, env = self._load(), model.get_env()
        assert env is not None
        left = {*except_for, *(() if with_environments else ENVIRONMENTS_STAND)}
        if with_environments:
            self.restore_environments(env)
        if "wrappers" not in except_for:
            for (_, _, statistics), saved in zip(running_statistics(env), self.values["statistics"], strict=True):
                statistics.mean, statistics.var, statistics.count = saved
        of_each_env = {} if "n_envs" in except_for else objects["attributes"]
        attributes = {**self.values["attributes"], **of_each_env}
        vars(model).update({name: value for name, value in attributes.items() if name not in left})
        model.start_time = time.time_ns() - self.values["elapsed"]
        for name, value in self.values["policy"].items():
            holder, _, attribute = name.rpartition(".")
            setattr(model.policy.get_submodule(holder), attribute, value)
        if "n_envs" not in except_for:
            vars(model.policy.action_dist).update(self.values["noise"])
        for name, generators in objects["spaces"].items():
            _set_generators(model, name, generators)
        common = _common_generator(model)
        if common is not None and self.values["common_random"] is not None:
            common.set_state(self.values["common_random"])
        set_random_states(self.values["random"])

    def restore_callbacks(self, model: OnPolicyAlgorithm, root: BaseCallback) -> list[str]:
        """Bring ``learn``'s callbacks, with the environments that they evaluate in, and the logger into this state.

        :return: names of callbacks that the checkpoint knows nothing of, or that are missing now
        """
        objects = self._load()
        states = {**self.values["callbacks"], **objects["callbacks"]}
        callbacks, envs = named(root), environments_of(root)
        for name in callbacks.keys() & states.keys():
            load_state(callbacks[name], states[name])
        for name in envs.keys() & objects["environments"].keys():
            envs[name].reset()
            restore_vec_env(envs[name], objects["environments"][name])
        load_pending(model.logger, self.values["log"])
        return sorted(callbacks.keys() ^ states.keys())


def environments(model: OnPolicyAlgorithm, root: BaseCallback) -> dict[str, VecEnv]:
    """The training environments, under the empty name, and those of callbacks."""
    env = model.get_env()
    assert env is not None
    return {"": env, **environments_of(root)}


def _values_in(policy: th.nn.Module) -> Iterator[tuple[str, Any]]:
    """What a policy's modules keep in numbers, arrays and tensors, and its zip has not."""
    saved = policy.state_dict().keys()
    for prefix, module in policy.named_modules():
        for name, value in {**vars(module), **dict(module.named_buffers(recurse=False, remove_duplicate=False))}.items():
            full = f"{prefix}.{name}" if prefix else name
            if isinstance(value, PLAIN) and name != "training" and full not in saved and plain.is_plain(value):
                yield full, value


def _common_generator(model: OnPolicyAlgorithm) -> th.Generator | None:
    """Of random numbers that are the same on all ranks."""
    return getattr(model, "_ranks", ALONE).generator


def _generators(model: OnPolicyAlgorithm, name: str) -> list[list[np.random.Generator | None]]:
    """Of a space of the environments' and of the algorithm's own; of one if these are the same space."""
    own, theirs = getattr(model, name), getattr(model.get_env(), name)
    return [[part._np_random for part in _parts(space)] for space in ([theirs] if own is theirs else [theirs, own])]


def _set_generators(model: OnPolicyAlgorithm, name: str, generators: list[list[np.random.Generator | None]]) -> None:
    theirs = getattr(model.get_env(), name)
    if len(generators) == 1:
        setattr(model, name, theirs)
    for space, of_parts in zip((theirs, getattr(model, name)), generators, strict=False):
        for part, generator in zip(_parts(space), of_parts, strict=True):
            part._np_random = generator  # type: ignore[assignment]


def _parts(space: spaces.Space) -> Iterator[spaces.Space]:
    """A space and those it is made of, each with a random generator of its own."""
    yield space
    inner = getattr(space, "spaces", ())
    for part in inner.values() if isinstance(inner, dict) else inner:
        yield from _parts(part)
