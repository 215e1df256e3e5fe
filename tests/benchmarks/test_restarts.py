"""What the study of restarts adds to the package: a source that begins where critics disagree."""

import numpy as np

from benchmarks.restarts.uncertain import Uncertain
from sb3_trpo.restarts import Visit
from tests.restarts.test_backward import corridor


def test_critics_agree_where_they_were_fitted_and_episodes_begin_elsewhere():
    """Frequencies of 4,000 choices are the shares of the spread, to 4 standard errors."""
    rng, env = np.random.default_rng(0), corridor()
    source = Uncertain(16, capacity=20)
    env.reset(seed=0)
    known, unknown = np.eye(16)[:4], 3.0 * np.eye(16)[4:8]
    for observation in (*known, *unknown):
        source.visit(Visit(env, observation, 0, 0.0), rng)
    for _ in range(20):
        source.fit(np.repeat(known, 500, axis=0), np.repeat([1.0, 0.0, 0.5, -1.0], 500))
    spread = source.spread()
    assert spread[:4].max() < 0.1 * spread[4:].min()
    states = [id(start) for start in source.starts]
    chosen = np.bincount([states.index(id(source.choose(rng))) for _ in range(4_000)], minlength=8) / 4_000
    shares = spread / spread.sum()
    assert np.all(np.abs(chosen - shares) <= 4.0 * np.sqrt(shares * (1.0 - shares) / 4_000))


def test_without_states_it_is_the_true_start():
    assert Uncertain(16).choose(np.random.default_rng(0)) is None
