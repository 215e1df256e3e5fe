"""The single-path objective: importance-sampled surrogate and KL constraint over a batch of states (paper, section 5)."""

from dataclasses import dataclass

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_trpo.policies import Actor, distribution_parameters
from sb3_trpo.trust_region import Evaluation, VectorProduct, fisher_vector_product, flatten


@dataclass(frozen=True)
class Batch:
    """What the policy's step needs of a rollout.

    :param observations: ``[B, …]``, or a dict of such
    :param actions: ``[B, …]`` as the distribution's ``log_prob`` takes them
    :param old_log_prob: log π_θ₀(a|s) ``[B]``, nats
    :param advantages: Â as the surrogate uses it ``[B]``
    :param raw_advantages: Â before normalisation ``[B]``, reward units
    """

    observations: PyTorchObs
    actions: th.Tensor
    old_log_prob: th.Tensor
    advantages: th.Tensor
    raw_advantages: th.Tensor

    @classmethod
    def from_buffer(cls, buffer: RolloutBuffer, thinning: int, normalize_advantage: bool) -> "Batch":
        """The rollout in random order, every ``thinning``-th sample of it.

        :param buffer: full; nothing but the buffer is read
        :param thinning: at least 1
        :param normalize_advantage: whether Â is standardised over the samples kept
        """
        data = next(iter(buffer.get(batch_size=None)))
        rows = slice(None, None, thinning)
        observations = data.observations
        actions = data.actions[rows]
        advantages = data.advantages[rows]
        return cls(
            {key: value[rows] for key, value in observations.items()} if isinstance(observations, dict) else observations[rows],
            actions.long().flatten() if isinstance(buffer.action_space, spaces.Discrete) else actions,
            data.old_log_prob[rows],
            (advantages - advantages.mean()) / (advantages.std() + 1e-8) if normalize_advantage else advantages,
            advantages,
        )


class SinglePathObjective:
    """L(θ) = mean[π_θ(a|s)/π_θ₀(a|s) Â] + c · mean entropy, under mean KL(π_θ₀ ‖ π_θ), at and around θ₀.

    The critic's error apart, the gradient at θ₀ is the policy gradient without the γᵗ weights, as usual in practice.

    :param actor: the policy, standing at θ₀
    :param batch: samples of π_θ₀
    :param ent_coef: c
    """

    def __init__(self, actor: Actor, batch: Batch, ent_coef: float):
        self.actor = actor
        self.batch = batch
        self.ent_coef = ent_coef
        distribution = actor.policy.get_distribution(batch.observations)
        self._outputs = distribution_parameters(distribution)
        self._surrogate, ratio, entropy = self._terms(distribution)
        self.start = Evaluation(float(self._surrogate.detach()), th.zeros_like(ratio), ratio.detach(), float(entropy.detach()))

    def gradient(self) -> th.Tensor:
        """g = ∇L(θ₀) ``[N]``."""
        return flatten(th.autograd.grad(self._surrogate, self.actor.parameters, retain_graph=True))

    def fisher_product(self, damping: float) -> VectorProduct:
        """v ↦ (F + λI) v at θ₀."""
        return fisher_vector_product(self._outputs, self.actor.parameters, self.actor.family, damping)

    @th.no_grad()
    def evaluate(self, theta: th.Tensor) -> Evaluation:
        """L(θ) and KL(π_θ₀ ‖ π_θ)."""
        with self.actor.at(theta):
            distribution = self.actor.policy.get_distribution(self.batch.observations)
            kl = self.actor.family.kl_divergence(self._outputs, distribution_parameters(distribution))
            surrogate, ratio, entropy = self._terms(distribution)
        return Evaluation(float(surrogate), kl, ratio, float(entropy))

    def _terms(self, distribution: Distribution) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Surrogate, ratio ``[B]`` and mean entropy of the distribution the policy now gives."""
        log_prob = distribution.log_prob(self.batch.actions)
        ratio = th.exp(log_prob - self.batch.old_log_prob)
        entropy = distribution.entropy()
        # Squashed distributions have no closed form: −E_θ[log π_θ], importance-weighted to the actions at hand.
        mean_entropy = -(ratio * log_prob).mean() if entropy is None else entropy.mean()
        return (ratio * self.batch.advantages).mean() + self.ent_coef * mean_entropy, ratio, mean_entropy
