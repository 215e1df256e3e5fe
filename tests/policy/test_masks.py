"""Masked distributions beside dense algebra on the possible actions alone."""

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common import distributions as sb3
from torch import nn

from sb3_trpo.policy import MaskedStates, action_distribution, masked_distribution
from sb3_trpo.policy.chain import ChainLinearization
from sb3_trpo.trust_region import AutogradLinearization, FisherMatrix, flatten
from tests.masked import random_masks, sizes

B, N = 24, 4  # states, observation components


@pytest.fixture
def network(space: Any) -> nn.Sequential:
    th.manual_seed(0)
    return nn.Sequential(nn.Linear(N, 5), nn.Tanh(), nn.Linear(5, sum(sizes(space)))).double()


@pytest.fixture
def states(space: Any) -> MaskedStates:
    rng = np.random.default_rng(1)
    return MaskedStates(th.as_tensor(rng.normal(size=(B, N))), th.as_tensor(random_masks(rng, space, B)))


def valid_parts(logits: th.Tensor, masks: th.Tensor, space: Any) -> list[list[th.Tensor]]:
    """Log-probabilities of the valid outcomes alone, by state and action component."""
    blocks = sizes(space)
    parts = []
    for row, mask in zip(logits, masks, strict=True):
        pairs = zip(row.split(blocks), mask.split(blocks), strict=True)
        parts.append([block[inside].log_softmax(0) for block, inside in pairs])
    return parts


def mean_kl(old: th.Tensor, new: th.Tensor, masks: th.Tensor, space: Any) -> th.Tensor:
    pairs = zip(valid_parts(old, masks, space), valid_parts(new, masks, space), strict=True)
    terms = [sum((p.exp() * (p - q)).sum() for p, q in zip(a, b, strict=True)) for a, b in pairs]
    return sum(terms) / len(terms)  # type: ignore[return-value]


def distribution(states: MaskedStates, network: nn.Sequential, space: Any) -> sb3.Distribution:
    made = masked_distribution(space).proba_distribution(network(states.observations))
    made.apply_masking(states.masks.numpy())  # as sb3-contrib's policies do
    return made


def test_some_states_have_one_valid_action(space: Any, states: MaskedStates) -> None:
    """Which is what the tests here are to cover."""
    assert (states.masks.sum(dim=1) == len(sizes(space))).any()


@pytest.mark.parametrize("by_hand", [True, False])
def test_fisher_products_are_those_of_the_dense_hessian_on_valid_actions(
    space: Any, states: MaskedStates, network: nn.Sequential, by_hand: bool
) -> None:
    """To 1e-10 in double precision, with the chain's own passes and with autograd."""
    weights = list(network.parameters())
    theta = flatten([weight.detach() for weight in weights])

    def kl(flat: th.Tensor) -> th.Tensor:
        parts = flat.split([weight.numel() for weight in weights])
        w1, b1, w2, b2 = (part.view(weight.shape) for part, weight in zip(parts, weights, strict=True))
        moved = th.tanh(states.observations @ w1.T + b1) @ w2.T + b2
        return mean_kl(network(states.observations).detach(), moved, states.masks, space)

    dense = th.autograd.functional.hessian(kl, theta)
    example = distribution(states, network, space)
    kind = action_distribution(example)
    if by_hand:
        linearization: Any = ChainLinearization(list(network), states.observations, None, weights, states.restrict)
    else:
        linearization = AutogradLinearization(kind.parameters(example), weights)
    fisher = FisherMatrix([lambda: linearization], kind.family, damping=0.0)
    for vector in th.randn(5, len(theta), dtype=th.float64):
        assert th.allclose(fisher.product(vector), dense @ vector, rtol=0.0, atol=1e-10)
        assert fisher.quadratic_form(vector) == pytest.approx(float(vector @ dense @ vector), abs=1e-10)


def test_kl_entropy_and_log_probabilities_are_those_over_valid_actions(
    space: Any, states: MaskedStates, network: nn.Sequential
) -> None:
    """And the gradient of each is that of the valid part, to 1e-12."""
    example = distribution(states, network, space)
    kind = action_distribution(example)
    old, new = (kind.parameters(example).detach() for _ in range(2))
    raw = network(states.observations).detach()
    shifted = raw + 0.3 * th.randn_like(raw)
    new = kind.parameters(masked_distribution(space).proba_distribution(states.restrict(shifted)))
    truth = mean_kl(raw, shifted, states.masks, space)
    assert float(kind.family.kl_divergence(old, new).mean()) == pytest.approx(float(truth), abs=1e-12)

    parts = valid_parts(network(states.observations), states.masks, space)
    entropy = th.stack([-sum((p.exp() * p).sum() for p in row) for row in parts])  # type: ignore[arg-type]
    assert th.allclose(example.entropy(), entropy, rtol=0.0, atol=1e-12)
    weights = list(network.parameters())
    found, true = (th.autograd.grad(value.sum(), weights, retain_graph=True) for value in (example.entropy(), entropy))
    assert all(th.allclose(a, b, rtol=0.0, atol=1e-12) for a, b in zip(found, true, strict=True))

    first = [[int(block.nonzero()[0]) for block in mask.split(sizes(space))] for mask in states.masks]
    actions = th.tensor(first)
    of_first = th.stack([sum(p[0] for p in row) for row in parts])  # type: ignore[misc]
    log_prob = example.log_prob(actions[:, 0] if len(sizes(space)) == 1 else actions)
    assert th.allclose(log_prob, of_first, rtol=0.0, atol=1e-12)
    found, true = (th.autograd.grad(value.sum(), weights, retain_graph=True) for value in (log_prob, of_first))
    assert all(th.allclose(a, b, rtol=0.0, atol=1e-12) for a, b in zip(found, true, strict=True))


def test_impossible_actions_are_never_drawn_nor_the_mode(space: Any) -> None:
    """With logits far above all others."""
    rng, width = np.random.default_rng(0), sum(sizes(space))
    masks = th.as_tensor(random_masks(rng, space, 2000))
    logits = th.where(masks, th.zeros(2000, width), 60.0)
    example = masked_distribution(space).proba_distribution(logits)
    example.apply_masking(masks)
    kind = action_distribution(example)
    begins = th.tensor(np.cumsum([0, *sizes(space)[:-1]]))
    drawn = [example.sample(), example.mode(), kind.act(example, kind.noise((2000,)), None)]
    for actions in drawn:
        assert masks.gather(1, begins + actions.long().reshape(2000, -1)).all()


def test_a_mask_can_be_taken_off(space: Any) -> None:
    logits = th.randn(7, sum(sizes(space)))
    example = masked_distribution(space).proba_distribution(logits)
    kind = action_distribution(example)
    before = kind.parameters(example).clone()
    example.apply_masking(random_masks(np.random.default_rng(0), space, 7))
    assert not th.equal(kind.parameters(example), before)
    example.apply_masking(None)
    assert th.equal(kind.parameters(example), before)
