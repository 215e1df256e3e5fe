"""The critic's fit: minibatch regression on the returns, all of it or nothing, and the policy stays the same function."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch as th
from torch import nn

from sb3_trpo.critic.choice import choose_regression
from sb3_trpo.critic.minibatches import rank_minibatches
from sb3_trpo.policy import Actor
from sb3_trpo.policy.overlaps import overlaps
from sb3_trpo.policy.snapshot import Snapshot
from sb3_trpo.ranks import ALONE, Ranks
from sb3_trpo.sampling import Samples
from sb3_trpo.trust_region import Status

NOT_FINITE_FIT = (
    "The critic's fit ended in NaN or infinity, in parameters or in the optimizer's state, and was undone. A return is too "
    "large for single precision, or the learning rate is too high: scale rewards (VecNormalize), or lower learning_rate."
)
LEFT_OUT = (
    "Fitting the critic moved the policy, which depends on {}, too. The fit was undone and made anew: from now on it leaves "
    "these alone."
)
NOTHING_TO_FIT = (
    "The critic was not fitted: from predict_values, no gradient reaches a parameter that the optimizer has. Let "
    "predict_values run with gradients (no th.no_grad in it), and give the optimizer the critic's parameters; or set "
    "n_critic_updates=0."
)


@dataclass(frozen=True)
class CriticFit:
    """Outcome of :func:`fit_critic`. Unless ``status`` is ``OK``, critic and optimizer are as before.

    :param loss: mean squared error over all minibatches, reward units squared; NaN when there was none
    :param status: ``OK``, ``NOT_FINITE``, ``ACTOR_MOVED`` where every fit would move the policy, or ``NOTHING_TO_FIT`` where
        no fit would move the critic, though it is not frozen
    :param left_out: names of what the fit must leave alone because the policy depends on it, those known before included
    """

    loss: float
    status: Status
    left_out: frozenset[str]

    def warnings(self, left_out_before: frozenset[str]) -> Iterator[str]:
        """What a user should know of it.

        :param left_out_before: what was known to be left alone before the fit
        """
        if self.status is Status.NOT_FINITE:
            yield NOT_FINITE_FIT
        elif self.status is Status.NOTHING_TO_FIT:
            yield NOTHING_TO_FIT
        elif self.left_out > left_out_before or self.status is Status.ACTOR_MOVED:
            yield LEFT_OUT.format(", ".join(sorted(self.left_out)))


def fit_critic(
    actor: Actor,
    samples: Samples,
    n_updates: int,
    batch_size: int,
    ranks: Ranks = ALONE,
    left_out: frozenset[str] = frozenset(),
) -> CriticFit:
    """Minimise mean[(V(s) − R)²] with the policy's own optimizer, ``n_updates`` passes in minibatches.

    Gradients are taken for the critic's own parameters only; the optimizer sees none for the others and leaves them alone.
    Whether the policy is the same function before and after is seen from the outcome: its distribution on the rollout's
    states. If it is not, the fit is undone and made anew without what moved the policy. A fit that ends in NaN or infinity,
    in a parameter or in the optimizer's state, is undone. Several ranks take the steps that one process with all their
    samples would take.

    :param actor: the policy, with what belongs to its actor
    :param samples: a rollout
    :param n_updates: passes over the samples, at least 0
    :param batch_size: rows a minibatch, over all ranks
    :param ranks: processes that hold further samples, as many each
    :param left_out: names of parameters, buffers and attributes that moved the policy in earlier fits
    """
    policy = actor.policy
    before = Snapshot(policy)
    # A library-made policy depends on the parameters of the modules that it runs and on nothing else
    outputs = None if actor.is_stock else actor.outputs(samples.observations)
    while True:
        parameters = actor.critic_parameters(samples.observations) if n_updates else {}
        if n_updates and _is_out_of_reach(actor, parameters.values()):
            return CriticFit(float("nan"), Status.NOTHING_TO_FIT, left_out)
        parameters = {name: parameter for name, parameter in parameters.items() if name not in left_out}
        if not parameters:
            return CriticFit(float("nan"), Status.OK, left_out)
        loss = _fit(actor, list(parameters.values()), samples, n_updates, batch_size, ranks, left_out)
        if not _is_finite(parameters.values(), policy.optimizer):
            before.restore()
            return CriticFit(loss, Status.NOT_FINITE, left_out)
        if outputs is None or not _any(ranks, _has_moved(actor, samples, outputs)):
            return CriticFit(loss, Status.OK, left_out)
        found = frozenset().union(*ranks.gather(_movers(actor, samples, outputs, before)))
        if found <= left_out:
            return CriticFit(float("nan"), Status.ACTOR_MOVED, left_out)
        left_out |= found


def _is_out_of_reach(actor: Actor, parameters: Collection[nn.Parameter]) -> bool:
    """Whether no fit would move the critic, though its head is not frozen.

    :param parameters: what a gradient of V reaches
    """
    policy = actor.policy
    if not parameters:
        heads = (getattr(owner, "value_net", None) for owner in (policy, getattr(policy, "mlp_extractor", None)))
        own = [parameter for head in heads if isinstance(head, nn.Module) for parameter in head.parameters()]
        return any(parameter.requires_grad and not overlaps(parameter, actor.parameters) for parameter in own)
    optimized = {id(parameter) for group in policy.optimizer.param_groups for parameter in group["params"]}
    return not any(id(parameter) in optimized for parameter in parameters)


def _fit(
    actor: Actor,
    parameters: list[nn.Parameter],
    samples: Samples,
    n_updates: int,
    batch_size: int,
    ranks: Ranks,
    left_out: frozenset[str],
) -> float:
    """The regression itself; its mean loss."""
    policy = actor.policy
    policy.set_training_mode(True)
    actor.keep_in_eval_mode()
    for owner in {name.rpartition(".")[0] for name in left_out}:
        policy.get_submodule(owner).training = False
    regression = choose_regression(policy, parameters, samples, batch_size, ranks)
    with ranks.same_random_numbers() if regression.ranks is ALONE else nullcontext():
        for _ in range(n_updates):
            order = th.randperm(ranks.size * len(samples), generator=ranks.generator)
            order, minibatches = rank_minibatches(order, batch_size, len(regression.targets), regression.ranks)
            regression.shuffle(order)
            for minibatch in minibatches:
                regression.step(minibatch)
    policy.set_training_mode(False)
    return regression.finish()


def _is_finite(parameters: Iterable[nn.Parameter], optimizer: th.optim.Optimizer) -> bool:
    """Whether the critic and all that the optimizer keeps of it are finite: infinite moments would stop it for good."""
    kept = (value for parameter in parameters for value in (parameter, *optimizer.state.get(parameter, {}).values()))
    return all(bool(th.isfinite(value).all()) for value in kept if isinstance(value, th.Tensor))


def _any(ranks: Ranks, found: bool) -> bool:
    return bool(ranks.maximum(th.tensor(float(found))))


def _has_moved(actor: Actor, samples: Samples, outputs: th.Tensor) -> bool:
    """Whether the distribution on the rollout's states is another than before, bit for bit.

    A network that does not repeat itself, one that counts its calls for example, tells nothing.
    """
    now = actor.outputs(samples.observations)
    return not th.equal(now, outputs) and th.equal(now, actor.outputs(samples.observations))


def _movers(actor: Actor, samples: Samples, outputs: th.Tensor, before: Snapshot) -> frozenset[str]:
    """Undo the fit, and find what of all that it changed changes the distribution."""
    after, changed = Snapshot(actor.policy), before.changed()
    before.restore()
    found = []
    for name in changed:
        after.restore([name])
        if _has_moved(actor, samples, outputs):
            found.append(name)
        before.restore([name])
    return frozenset(found or changed)  # if none moves it alone, several do together: leave all out
