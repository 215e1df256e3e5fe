"""Packed sequences beside a plain loop over single steps with sb3-contrib's own methods."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.distributions import kl_divergence

from sb3_trpo.policy import Actor, Memory, Sequences, select
from sb3_trpo.sampling import Batch, ImportanceSampled
from sb3_trpo.trust_region import flatten
from sb3_trpo.update import PolicyObjective
from tests.recurrent import CUTS, OPTIONS, Path, make_path, make_policy

SPACES = {"box": spaces.Box(-1.0, 1.0, (2,)), "discrete": spaces.Discrete(3)}


def joint(distribution: Any) -> Any:
    inner = distribution.distribution
    return th.distributions.Independent(inner, 1) if isinstance(inner, th.distributions.Normal) else inner


def plain_kl(policy: Any, path: Path, frozen: list[Any]) -> th.Tensor:
    """Mean KL(frozen ‖ policy) over all steps, by the loop."""
    now = path.loop(policy, policy.get_distribution, path.begin.actor)
    return th.stack([kl_divergence(p, joint(q)) for p, q in zip(frozen, now, strict=True)]).mean()


def detached(distribution: Any) -> Any:
    inner = distribution.distribution
    if isinstance(inner, th.distributions.Normal):
        return th.distributions.Independent(th.distributions.Normal(inner.loc.detach(), inner.scale.detach()), 1)
    return th.distributions.Categorical(logits=inner.logits.detach())


@pytest.mark.parametrize("cuts", list(CUTS))
@pytest.mark.parametrize("options", list(OPTIONS))
@pytest.mark.parametrize("kind", list(SPACES))
def test_kl_surrogate_gradient_and_fisher_product_are_those_of_the_loop(cuts: str, options: str, kind: str) -> None:
    """To 1e-9 in double precision; the product is that of the Hessian of the loop's mean KL."""
    policy = make_policy(SPACES[kind], **OPTIONS[options])
    path = make_path(CUTS[cuts], policy.lstm_actor.num_layers)
    sequences = path.sequences()
    count = len(sequences)
    begin = path.loop(policy, policy.get_distribution, path.begin.actor)
    frozen = [detached(distribution) for distribution in begin]
    actions = th.cat([distribution.sample() for distribution in frozen])
    old = th.cat([p.log_prob(a[None]) for p, a in zip(frozen, actions, strict=True)])
    advantages = th.randn(count, dtype=th.float64)

    batch = Batch(sequences, actions, old, advantages, advantages)
    actor = Actor(policy, sequences)
    objective = PolicyObjective(actor, batch, ImportanceSampled(batch), ent_coef=0.0)
    assert th.allclose(objective.start.ratio, th.ones(count, dtype=th.float64), rtol=0.0, atol=1e-9)

    def surrogate() -> th.Tensor:
        now = path.loop(policy, policy.get_distribution, path.begin.actor)
        log_prob = th.cat([joint(q).log_prob(a[None]) for q, a in zip(now, actions, strict=True)])
        return ((log_prob - old).exp() * advantages).mean()

    gradient = flatten(th.autograd.grad(surrogate(), actor.parameters))
    assert th.allclose(objective.gradient, gradient, rtol=0.0, atol=1e-9)

    first = flatten(th.autograd.grad(plain_kl(policy, path, frozen), actor.parameters, create_graph=True))
    fisher = objective.fisher(damping=0.0)
    for vector in th.randn(3, len(gradient), dtype=th.float64):
        hessian = flatten(th.autograd.grad(first @ vector, actor.parameters, retain_graph=True))
        assert th.allclose(fisher.product(vector), hessian, rtol=0.0, atol=1e-9)

    theta = actor.theta + 0.1 * th.randn(len(gradient), dtype=th.float64)
    found = objective.evaluate(theta)
    with actor.at(theta), th.no_grad():
        assert float(found.kl.mean()) == pytest.approx(float(plain_kl(policy, path, frozen)), abs=1e-9)
        assert found.surrogate == pytest.approx(float(surrogate()), abs=1e-9)


@pytest.mark.parametrize("options", list(OPTIONS))
def test_values_and_the_critics_last_states_are_those_of_the_loop(options: str) -> None:
    policy = make_policy(SPACES["box"], **OPTIONS[options])
    path = make_path(CUTS["of length one"], policy.lstm_actor.num_layers)
    sequences = path.sequences()
    own = policy.lstm_critic or policy.lstm_actor
    states = path.begin.actor if policy.shared_lstm else path.begin.critic

    def value(obs: th.Tensor, carried: Any, start: th.Tensor) -> Any:
        with th.no_grad():
            values = policy.predict_values(obs, carried, start)
            _, carried = policy._process_sequence(policy.vf_features_extractor(obs), carried, start, own)
        return (values, carried), carried

    truth = path.loop(policy, value, states)
    with th.no_grad():
        values, end = sequences.values_and_end(policy)
    assert th.allclose(values.flatten(), th.cat([v for v, _ in truth]).flatten(), rtol=0.0, atol=1e-12)
    if policy.lstm_critic is not None or policy.shared_lstm:
        last = np.cumsum(sequences.lengths) - 1
        for part in range(2):
            expected = th.cat([truth[index][1][part] for index in last], dim=1)
            assert th.allclose(end[part], expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_chunks_and_shares_are_whole_sequences(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy(SPACES["discrete"])
    sequences = make_path(CUTS["in the middle"]).sequences()
    with th.no_grad():
        whole = sequences.distribution(policy).distribution.logits
        parts = [sequences[rows].distribution(policy).distribution.logits for rows in sequences.chunks(chunk)]
    assert sum(map(len, parts)) == len(sequences) and th.allclose(th.cat(parts), whole, atol=1e-12)
    ends = np.cumsum(sequences.lengths)
    th.manual_seed(0)
    seen = set()
    for count in (1, 9, len(sequences)):
        rows = sequences.draw(count)
        assert len(rows) >= count and len(set(rows.tolist())) == len(rows)
        drawn = sequences[rows]
        assert len(rows) - drawn.lengths[-1] < count  # no more than needed
        with th.no_grad():
            assert th.allclose(drawn.distribution(policy).distribution.logits, whole[rows], atol=1e-12)
        assert set(drawn.lengths.tolist()) <= set(sequences.lengths.tolist())
        seen |= {int(np.searchsorted(ends, row, side="right")) for row in rows.tolist()}
    assert seen == set(range(len(ends)))


def test_steps_without_those_before_them_are_refused() -> None:
    sequences = make_path(CUTS["in the middle"]).sequences()  # of 3, 5, 6, 2 and 8 steps
    assert sequences[slice(3, 6)].lengths.tolist() == [3]  # the beginning of the second one
    for rows in (slice(1, 3), th.tensor([0, 2]), th.tensor([3, 4, 1]), th.tensor([0, 4])):
        with pytest.raises(IndexError, match="without all those before"):
            sequences[rows]


def test_selected_sequences_keep_what_they_begin_with() -> None:
    sequences = make_path(CUTS["in the middle"]).sequences()
    second = select(sequences, slice(8, 14))
    assert isinstance(second, Sequences) and isinstance(second.begin, Memory)
    assert th.equal(second.begin.actor[0], sequences.begin.actor[0][:, 2:3])
