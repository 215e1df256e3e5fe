"""Actions as a function of observations and noise, one function for every way to act.

SB3's ``forward`` draws the noise at every step. :class:`NumpyActor` gives the same actions, up to rounding, from the same
random numbers. :func:`make_actor` takes noise drawn beforehand, for branches that share it (paper, section 5.2).
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common import distributions as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import obs_as_tensor

from sb3_trpo.policy.chain import NumpyChain, forward
from sb3_trpo.policy.distributions import action_distribution
from sb3_trpo.policy.masks import IMPOSSIBLE, MaskedStates
from sb3_trpo.policy.observations import PolicyInput, distribution_of, zeros
from sb3_trpo.policy.recognition import ActorChain, numpy_chain

# Multiplications of one layer beyond which NumPy's BLAS starts threads, at a cost above all that is saved here.
LARGEST_PRODUCT = 2**17
# Steps whose noise is drawn at a time. A call of PyTorch's between two steps of a simulator is slow, because its code is no
# longer in the processor's caches
BLOCK = 256

# Actions for observations and their noise ``[B, …]``, and for masks ``[B, P]`` where there are any
Act = Callable[[Any, np.ndarray, np.ndarray | None], np.ndarray]


def _agree(a: Any, b: Any) -> bool:
    """Whether two results are equal up to the rounding of float32 sums in different orders."""
    return np.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)


@th.no_grad()
def actions_from_noise(policy: ActorCriticPolicy, states: PolicyInput, noise: np.ndarray) -> th.Tensor:
    """What the policy does in B states, given the noise.

    :param policy: in eval mode; its own random state and exploration matrices are left alone
    :param states: B observations, with masks where there are any
    :param noise: ``[B, …]``, of :func:`draw_noise`
    :return: actions as the distribution's ``log_prob`` takes them ``[B, …]``
    """
    distribution = distribution_of(policy, states)
    kind = action_distribution(distribution)
    return kind.act(distribution, th.as_tensor(noise, device=policy.device), getattr(policy, "log_std", None))


@th.no_grad()
def draw_noise(policy: ActorCriticPolicy, rng: np.random.Generator, leading: Sequence[int]) -> np.ndarray:
    """Noise for as many actions as ``leading`` says, ``[*leading, …]``.

    :param policy: its distribution, which is asked for on observations of zeros, says of what kind and size
    :param rng: gives the seed
    :param leading: any number of dimensions
    """
    kind = action_distribution(policy.get_distribution(zeros(policy)))
    return kind.noise(leading, th.Generator().manual_seed(int(rng.integers(2**63)))).numpy()


class NumpyActor:
    """Acts for a Gaussian or categorical MLP policy, with the random numbers that SB3 would draw.

    For a few observations PyTorch's calls cost thirty times the arithmetic. Weights are read at construction: an actor
    serves one rollout.

    :param policy: one whose layers are known
    :param chain: its layers, from vectors to mean or logits
    :param distribution: the policy's for some observations, as many as it will act on
    """

    def __init__(self, policy: ActorCriticPolicy, chain: ActorChain, distribution: sb3.Distribution):
        self.network = NumpyChain(chain.layers)
        self.kind: Any = action_distribution(distribution)
        leading = (len(self.kind.parameters(distribution)),)
        with th.random.fork_rng([]):
            self.noise_shape = tuple(self.kind.noise(leading).shape)
        self.shape = (*leading, *policy.action_space.shape)  # type: ignore[misc]
        self.deviation = _deviation(chain)

    def noise(self, n_steps: int, generator: th.Generator | None = None) -> Iterator[np.ndarray]:
        """What is added to mean or logits at each step. Up to 256 steps are drawn at a time, with one call for each,
        as SB3 makes.

        :param n_steps: of the path
        :param generator: of the random numbers; None for PyTorch's own
        """
        noise = th.empty(self.noise_shape, device="cpu")
        drawn = noise.numpy()  # a view
        for begin in range(0, n_steps, BLOCK):
            block = np.empty((min(BLOCK, n_steps - begin), *self.noise_shape), dtype=np.float32)
            for row in block:
                self.kind.redraw(noise, generator)
                row[:] = drawn
            yield from _added(block, self.deviation)

    def act(self, obs: np.ndarray, noise: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """Actions ``[n_envs, …]`` for observations ``[n_envs, …]``.

        :param noise: of one step, from :meth:`noise`
        :param masks: which outcomes are possible ``[n_envs, P]``; None: all
        """
        return _actions(self.network(obs), noise, masks, self.deviation is None).reshape(self.shape)


@th.no_grad()
def numpy_actor(policy: ActorCriticPolicy, obs: Any) -> NumpyActor | None:
    """The fast actor for a rollout, if the policy is one that it can run, and if it does there what the policy does.

    :param policy: in eval mode
    :param obs: where the rollout begins ``[n_envs, …]``
    """
    chain = numpy_chain(policy)
    if chain is None or len(obs) * max(weight.numel() for weight in _weights(chain)) > LARGEST_PRODUCT:
        return None
    distribution = policy.get_distribution(obs_as_tensor(obs, policy.device))
    if not hasattr(action_distribution(distribution), "redraw"):
        return None  # a user's adapter for one of SB3's distributions
    actor = NumpyActor(policy, chain, distribution)
    outputs = th.from_numpy(actor.network(obs))
    arguments = (outputs,) if chain.log_std is None else (outputs, chain.log_std)
    found = copy(policy.action_dist).proba_distribution(*arguments)  # type: ignore[arg-type]
    same_parameters = _agree(actor.kind.parameters(found), actor.kind.parameters(distribution))
    state = th.get_rng_state()
    fast = actor.act(obs, next(actor.noise(1)))
    th.set_rng_state(state)
    plain = distribution.get_actions().numpy().reshape(fast.shape)
    th.set_rng_state(state)
    return actor if same_parameters and _agree(fast, plain) else None


def make_actor(policy: ActorCriticPolicy, obs: Any, noise: np.ndarray, masks: np.ndarray | None = None) -> Act:
    """:func:`actions_from_noise` for many calls with the same weights, written out if that gives the same on the first rows.

    The two give the same actions up to rounding. Of a multiple of 16 rows, each by itself gives equal rows equal actions,
    wherever they stand. That takes PyTorch's matrix products: on some processors NumPy's round a row by its place.

    :param policy: in eval mode
    :param obs: the first observations ``[B, …]``
    :param noise: their noise
    :param masks: which outcomes are possible ``[B, P]``; None: all
    """

    def plain(obs: Any, noise: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
        states: Any = obs_as_tensor(obs, policy.device)
        if masks is not None:
            states = MaskedStates(states, th.as_tensor(masks, device=policy.device))
        return actions_from_noise(policy, states, noise).cpu().numpy()

    chain = numpy_chain(policy)
    if chain is None:
        return plain
    layers, weights, deviation = chain.layers, _weights(chain), _deviation(chain)

    def written_out(obs: Any, noise: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
        outputs = forward(layers, weights, th.as_tensor(obs, dtype=th.float32).flatten(1))[-1].numpy()
        return _actions(outputs, _added(noise, deviation), masks, deviation is None)

    return written_out if _agree(written_out(obs, noise, masks), plain(obs, noise, masks)) else plain


def _weights(chain: ActorChain) -> list[th.Tensor]:
    return [weight.detach() for layer in chain.layers for weight in layer.parameters()]


def _deviation(chain: ActorChain) -> np.ndarray | None:
    """σ of a Gaussian ``[d]``, None for logits."""
    return None if chain.log_std is None else chain.log_std.detach().exp().numpy()


def _actions(outputs: np.ndarray, added: np.ndarray, masks: np.ndarray | None, discrete: bool) -> np.ndarray:
    """Actions ``[B, …]`` of a network's outputs, which are overwritten: mean plus noise, or the place of the largest sum.

    :param outputs: mean or logits ``[B, …]``
    :param added: by the noise, see :func:`_added`
    :param masks: which outcomes are possible ``[B, P]``; None: all
    :param discrete: whether the outputs are logits
    """
    if masks is not None:
        outputs[~masks] = IMPOSSIBLE
    outputs += added
    return outputs.argmax(axis=1) if discrete else outputs


def _added(noise: np.ndarray, deviation: np.ndarray | None) -> np.ndarray:
    """What noise adds: σ ε to a Gaussian's mean; −log q to logits, whose largest sum is that of the largest p/q."""
    return -np.log(noise) if deviation is None else deviation * noise
