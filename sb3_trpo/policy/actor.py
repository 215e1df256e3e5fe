"""The policy as TRPO sees it: which parameters are the actor's, and what distribution θ gives in each state."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from threading import RLock
from typing import Any

import torch as th
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sb3_trpo.policy.chain import ChainLinearization, forward
from sb3_trpo.policy.distributions import action_distribution
from sb3_trpo.policy.observations import (
    PolicyInput,
    chunks_of,
    count,
    distribution_of,
    observations_of,
    restricted,
    select,
    values_of,
)
from sb3_trpo.policy.overlaps import overlaps
from sb3_trpo.policy.recognition import actor_chain, is_stock_policy
from sb3_trpo.policy.snapshot import Snapshot
from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.trust_region import HALF_PRECISION, AutogradLinearization, Linearization, flatten, unflatten

# What PyTorch chooses to run is global: one thread at a time may change it and change it back
_choosing = RLock()

# Activations kept at a time, over the rows of a chunk: some 160 Atari frames of NatureCNN, or all of a usual MLP's batch.
CHUNK_ACTIVATIONS = 2**23
DIVERGENCE_TERMS = 8  # tensors of the outputs' size that a divergence, a density and their gradients hold at a time

PROBE = slice(2)  # rows to look at a policy with: batch normalisation without running statistics refuses a single one

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

RUNNING_STATISTICS = (
    "The actor has batch normalisation. Its running statistics stay what they are, at first a mean of 0 and a variance of 1: "
    "if they moved, the policy would, outside the trust region. Use VecNormalize or layer normalisation instead."
)
BATCH_STATISTICS = (
    "The actor has batch normalisation without running statistics (track_running_stats=False): an action's distribution "
    "depends on the other observations in the batch, so that the one that acts (a row for each environment) is not the one "
    "that is optimised (the whole rollout), and the trust region is not that of what acts. Use VecNormalize or layer "
    "normalisation."
)


@contextmanager
def _own_distribution(policy: ActorCriticPolicy) -> Iterator[None]:
    """Keep a distribution with a graph out of the policy, which could not be deep-copied with it."""
    kept = policy.action_dist
    policy.action_dist = copy(kept)
    try:
        yield
    finally:
        policy.action_dist = kept


@contextmanager
def _differentiable_twice() -> Iterator[None]:
    """Run what can be differentiated twice: of attention's kernels MATH, and what was compiled as it was written."""
    compiled = "torch._dynamo" in sys.modules  # which nothing was compiled without, and which takes a second to import
    stance = th.compiler.set_stance("force_eager") if compiled else nullcontext()
    with _choosing, sdpa_kernel(SDPBackend.MATH), stance:
        yield


def _gradients(policy: ActorCriticPolicy, outputs: th.Tensor) -> dict[str, th.Tensor]:
    """Gradients from outputs in some direction, by the names of the parameters that they reach."""
    if not outputs.requires_grad:
        return {}
    candidates = {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}
    direction = th.rand(outputs.shape, generator=th.Generator().manual_seed(0), device="cpu")  # outputs may have a fixed sum
    gradients = th.autograd.grad(outputs, list(candidates.values()), direction.to(outputs), allow_unused=True)
    return {name: gradient for name, gradient in zip(candidates, gradients, strict=True) if gradient is not None}


class Actor:
    """The part of a policy that chooses actions: θ, found by differentiating the policy once.

    A parameter belongs to θ if a gradient reaches it from the distribution's parameters in any of the states; names play no
    part. In a policy with modules of the user's own, the gradient must not be zero in all states: a parameter for which it is
    makes features that only the critic uses.

    :param policy: any SB3 actor-critic policy
    :param states: a batch that the policy can be evaluated on; the first rows tell, if the policy is made of known modules
    :param ranks: processes that hold further states
    :raises TypeError: for an action distribution without a known Fisher matrix
    :raises ValueError: if no gradient reaches any parameter from the distribution
    """

    def __init__(self, policy: ActorCriticPolicy, states: PolicyInput, ranks: Ranks = ALONE):
        self.policy, self.ranks = policy, ranks
        self.is_stock = is_stock_policy(policy)  # before anything is hooked into it
        self.modules: set[nn.Module] = set()  # those that were seen to run: all, if the policy is a stock one
        self.activations = 0
        hooks = [
            module.register_forward_hook(self._note)
            for module in policy.modules()
            if not isinstance(module, th.jit.ScriptModule)  # takes none
        ]
        first = select(states, PROBE)
        try:
            distribution = self.distribution_of(first)
            self.activations //= count(first)
            self.distribution = action_distribution(distribution)
            self.family = self.distribution.family
            outputs = self.parameters_of(distribution)
            self.n_outputs = outputs.shape[1]
            self.activations += DIVERGENCE_TERMS * self.n_outputs
            activations = self.activations
            with _differentiable_twice():  # what was compiled would be compiled anew, hooks and all
                names = set(_gradients(policy, outputs)) if self.is_stock else self._find_parts(states)
            self.activations = activations
        finally:
            for hook in hooks:
                hook.remove()
        names = self._on_all_ranks(names)
        if not names:
            raise ValueError(
                "Nothing in the policy's actor can be trained: set requires_grad on some of its parameters. To fit the critic "
                "alone, leave them trainable and give target_kl=lambda remaining: 0.0."
            )
        self.parameters = [parameter for name, parameter in policy.named_parameters() if name in names]
        own = {id(parameter) for parameter in self.parameters}
        self.modules |= {part for part in policy.modules() if any(id(p) in own for p in part.parameters(recurse=False))}
        self._chain = self._find_chain(first, outputs.detach())

    def _find_parts(self, states: PolicyInput) -> set[str]:
        """Names of the parameters of a policy of the user's own that the distribution depends on in any of the states."""
        chunks = self.chunks(states)
        reached, moving = self._reached(states, chunks)
        if moving < reached:  # by chance, or because a head begins with zeros: look from nearby, too
            stood, generator = Snapshot(self.policy), th.Generator().manual_seed(0)
            try:
                with th.no_grad():
                    for name, parameter in self.policy.named_parameters():
                        if name in reached:
                            noise = th.randn(parameter.shape, generator=generator, device="cpu")
                            parameter.add_(noise.to(parameter), alpha=0.01)
                moving |= self._reached(states, chunks)[1]
            finally:
                stood.restore()
        return moving or reached

    def _reached(self, states: PolicyInput, chunks: list[slice]) -> tuple[set[str], set[str]]:
        """Names of the parameters that gradients reach, and of those of them whose gradient is not zero in all states."""
        reached: set[str] = set()
        moving: set[str] = set()
        for rows in chunks:
            found = _gradients(self.policy, self.parameters_of(self.distribution_of(select(states, rows))))
            reached |= found.keys()
            moving |= {name for name, gradient in found.items() if bool(gradient.to_dense().any())}
        return reached, moving

    def _on_all_ranks(self, names: set[str]) -> set[str]:
        """What the states of some rank reach."""
        return names if self.is_stock else set().union(*self.ranks.gather(names))

    def _note(self, module: nn.Module, _: tuple, output: Any) -> None:
        self.modules.add(module)
        self.activations += output.numel() if isinstance(output, th.Tensor) else 0

    def _find_chain(self, state: PolicyInput, outputs: th.Tensor) -> Any:
        """The actor as a chain of known layers, if it is one, if θ is all of it and if it gives what the policy gives."""
        chain = actor_chain(self.policy)
        if chain is None:
            return None
        weights = [weight for layer in chain.layers for weight in layer.parameters()]
        own = [*weights, *([] if chain.log_std is None else [chain.log_std])]
        if {id(parameter) for parameter in own} != {id(parameter) for parameter in self.parameters}:
            return None
        with th.no_grad():
            last = forward(chain.layers, weights, chain.inputs(observations_of(state)))[-1]
            found = self.distribution.parameters(self._distribution_at(restricted(state, last), chain.log_std))
        return chain if th.allclose(found, outputs, rtol=1e-3, atol=1e-4, equal_nan=True) else None

    def _distribution_at(self, outputs: th.Tensor, log_std: th.Tensor | None) -> sb3.Distribution:
        """The distribution with a network's outputs, mean or logits."""
        arguments = (outputs,) if log_std is None else (outputs, log_std)
        return copy(self.policy.action_dist).proba_distribution(*arguments)

    def linearize(self, states: PolicyInput) -> tuple[Linearization, sb3.Distribution]:
        """The distribution's parameters as a linear map of θ, for some states, and the distribution to differentiate there.

        By hand where the actor is a chain of known layers.
        """
        chain = self._chain
        if chain is None:
            with _differentiable_twice():
                distribution = self.distribution_of(states)
            return AutogradLinearization(self.parameters_of(distribution), self.parameters), distribution
        inputs = chain.inputs(observations_of(states))
        linearization = ChainLinearization(
            chain.layers, inputs, chain.log_std, self.parameters, lambda outputs: restricted(states, outputs)
        )
        at = linearization.at
        return linearization, self._distribution_at(*((at, None) if chain.log_std is None else at.chunk(2, dim=1)))

    def distribution_of(self, states: PolicyInput) -> sb3.Distribution:
        """The distribution where the policy now stands; the policy keeps its own."""
        with _own_distribution(self.policy):
            return distribution_of(self.policy, states)

    def parameters_of(self, distribution: sb3.Distribution) -> th.Tensor:
        """The distribution's parameters ``[B, P]``, in single precision where it has them in half: divergences need it."""
        parameters = self.distribution.parameters(distribution)
        return parameters.float() if parameters.dtype in HALF_PRECISION else parameters

    def chunks(self, states: PolicyInput) -> list[slice]:
        """All rows in slices, each small enough for its activations to be kept."""
        return chunks_of(states, max(1, CHUNK_ACTIVATIONS // max(1, self.activations)))

    @th.no_grad()
    def outputs(self, states: PolicyInput) -> th.Tensor:
        """The distribution's parameters where the policy now stands ``[B, P]``, with the same random numbers at every call."""
        parts = []
        with th.random.fork_rng([self.policy.device] if self.policy.device.type == "cuda" else []):
            th.manual_seed(0)
            for rows in self.chunks(states):
                parts.append(self.parameters_of(self.distribution_of(select(states, rows))))
        return th.cat(parts)

    @property
    def theta(self) -> th.Tensor:
        """θ as one vector ``[N]``, a copy."""
        return flatten([parameter.detach() for parameter in self.parameters])

    def assign(self, theta: th.Tensor) -> None:
        """Write θ into the policy: one call without a line of Python in it, which Ctrl-C cannot interrupt half-way."""
        with th.no_grad():
            list(map(th.Tensor.copy_, self.parameters, unflatten(theta, self.parameters)))

    @contextmanager
    def at(self, theta: th.Tensor) -> Iterator[None]:
        """Let the policy stand at another θ for a while.

        θ is written where :meth:`assign` writes it, so that whatever shares its memory moves with it here as it would there.
        """
        own = self.theta
        try:
            self.assign(theta)
            yield
        finally:
            self.assign(own)

    def critic_parameters(self, states: PolicyInput) -> dict[str, nn.Parameter]:
        """What the critic may move, by name: what a gradient of V reaches, without θ and what shares memory with it.

        The actor may depend on others, which no gradient reaches (detached features). Of a library-made policy these are
        parameters of modules that were seen to run, and left out here. Of any other, the fit's outcome tells.

        :param states: a batch that the policy can be evaluated on
        """
        reached: set[str] = set()
        with th.backends.cudnn.flags(enabled=False):  # its LSTM cannot be differentiated in eval mode
            for rows in [PROBE] if self.is_stock else self.chunks(states):
                reached |= _gradients(self.policy, values_of(self.policy, select(states, rows))).keys()
        reached = self._on_all_ranks(reached)
        used = list(self.parameters)
        if self.is_stock:
            used += [parameter for module in self.modules for parameter in module.parameters(recurse=False)]
        named = self.policy.named_parameters()
        return {name: parameter for name, parameter in named if name in reached and not overlaps(parameter, used)}

    @property
    def batch_warning(self) -> str | None:
        """What to warn of where it normalises over batches."""
        norms = [module for module in self.modules if isinstance(module, (*_BATCH_NORMS, *_INSTANCE_NORMS))]
        if any(isinstance(norm, _BATCH_NORMS) and not norm.track_running_stats for norm in norms):
            return BATCH_STATISTICS
        return RUNNING_STATISTICS if any(norm.track_running_stats for norm in norms) else None

    def keep_in_eval_mode(self) -> None:
        """Put the modules that the actor runs in eval mode, so that training the critic leaves their statistics alone."""
        for module in self.modules:
            module.training = False
