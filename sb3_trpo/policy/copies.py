"""A policy in another process: made by its class, then given all that may have changed since."""

import io
from typing import Any, NamedTuple

import cloudpickle
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_trpo.policy.hooks import forward_hooks, replaced_methods

_NOT_PLAIN = vars(th.nn.Module())  # what PyTorch keeps in a module: weights, modules, hooks


class Contents(NamedTuple):
    """What a policy is, besides what its class makes of its arguments.

    :param weights: parameters and buffers
    :param attributes: all others of its modules, each pickled, by the module's name and theirs
    :param anatomy: its modules, and what is hooked or put into them
    """

    weights: dict[str, th.Tensor]
    attributes: dict[tuple[str, str], bytes]
    anatomy: list[str]


def recipe(policy: ActorCriticPolicy) -> tuple[type[ActorCriticPolicy], dict[str, Any]]:
    """The class of a policy and the arguments that it was made with."""
    arguments = policy._get_constructor_parameters()
    if not policy.share_features_extractor:  # which SB3 does not count among them
        arguments["share_features_extractor"] = False
    return type(policy), arguments


def contents(policy: ActorCriticPolicy) -> Contents:
    """What :func:`fill` needs."""
    names = {id(part): name for name, part in _parts(policy).items()}
    attributes = {}
    for module_name, module in policy.named_modules():
        for name in vars(module).keys() - _NOT_PLAIN.keys() - set(replaced_methods(module)):
            try:
                file = io.BytesIO()
                _Pickler(file, names).dump(vars(module)[name])
                attributes[module_name, name] = file.getvalue()
            except Exception:  # a lock, a file: its own constructor has made another, and the outputs are compared
                continue
    return Contents({name: value.cpu() for name, value in policy.state_dict().items()}, attributes, _anatomy(policy))


def fill(copy: ActorCriticPolicy, given: Contents) -> None:
    """Make a new policy of the same recipe what the first one is.

    :raises ValueError: if the first one was changed in ways that cannot be followed
    """
    parts, modules = _parts(copy), dict(copy.named_modules())
    for (module_name, name), data in given.attributes.items():
        if module_name in modules:
            modules[module_name].__dict__[name] = _Unpickler(io.BytesIO(data), parts).load()
    if _anatomy(copy) != given.anatomy:
        raise ValueError(
            "The policy is not what its class and policy_kwargs make: something was hooked or put into it afterwards, "
            "which other processes cannot know of. Do that in the constructor of a policy class."
        )
    copy.load_state_dict(given.weights)


def _anatomy(policy: ActorCriticPolicy) -> list[str]:
    """What decides, besides its weights and attributes, what a policy does."""
    anatomy = []
    for name, module in policy.named_modules():
        anatomy.append(
            f"{name} {type(module).__name__}({module.extra_repr()}) {forward_hooks(module)} {replaced_methods(module)}"
        )
    return anatomy


def _parts(policy: ActorCriticPolicy) -> dict[str, Any]:
    """What has a name in a policy and its copy, so that the name stands for it in the other process."""
    named = [("module", policy.named_modules()), ("parameter", policy.named_parameters()), ("buffer", policy.named_buffers())]
    parts: dict[str, Any] = {f"{kind} {name}": part for kind, found in named for name, part in found}
    parts["optimizer"] = policy.optimizer
    return parts


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: io.BytesIO, names: dict[int, str]):
        super().__init__(file)
        self.names = names

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, th.Tensor) and id(obj) not in self.names and obj.device.type != "cpu":
            return obj.cpu()
        return self.names.get(id(obj))


class _Unpickler(cloudpickle.pickle.Unpickler):
    def __init__(self, file: io.BytesIO, parts: dict[str, Any]):
        super().__init__(file)
        self.parts = parts

    def persistent_load(self, pid: Any) -> Any:
        return self.parts[pid] if isinstance(pid, str) else pid
