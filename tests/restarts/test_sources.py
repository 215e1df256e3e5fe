"""Which states are kept and chosen: against frequencies that are known, and a plain loop."""

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from sb3_trpo.restarts import DownscaledImage, Grid, RareFirst, Source, Visited, hashed
from sb3_trpo.restarts.starts import Visit
from tests.simulator_toys import Walk


def visit(cell: int, steps: int = 0, total: float = 0.0) -> Visit:
    return Visit(Walk(), np.array([float(cell)]), steps, total)


def cell_of(env: gym.Env, observation: np.ndarray) -> int:
    return int(observation[0])


def fill(source: Source, visits: list[Visit], seed: int = 0) -> Source:
    rng = np.random.default_rng(seed)
    for one in visits:
        source.visit(one, rng)
    return source


def test_every_visited_state_is_kept_with_the_same_probability():
    """40 states, 10 places: each is kept by a quarter of 500 archives, whose standard deviation is 0.0194."""
    visits = [visit(number) for number in range(40)]
    kept = Counter(start.observation.item() for seed in range(500) for start in fill(Visited(10), visits, seed).starts)
    shares = np.array([kept[number] / 500 for number in range(40)])
    assert sum(kept.values()) == 5_000 and np.abs(shares - 0.25).max() < 4.5 * 0.0194
    assert np.abs(shares.reshape(4, 10).mean(axis=1) - 0.25).max() < 4.5 * 0.0194 / 10**0.5  # whenever it was visited


def test_rare_cells_are_chosen_first():
    """Probabilities proportional to 1/√visits, of 20,000 choices: standard deviations are at most 0.0036."""
    source = fill(RareFirst(cell_of), [visit(cell) for cell, count in enumerate((1, 4, 16, 100)) for _ in range(count)])
    rng = np.random.default_rng(1)
    chosen = Counter(source.choose(rng).observation.item() for _ in range(20_000))  # type: ignore[union-attr]
    weights = np.array([1.0, 1 / 2, 1 / 4, 1 / 10])
    shares = np.array([chosen[cell] / 20_000 for cell in range(4)])
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=4.5 * 0.0036)


def test_the_best_way_to_a_cell_is_kept():
    source = RareFirst(cell_of)
    fill(source, [visit(0, 7, 1.0), visit(0, 5, 1.0), visit(0, 4, 0.5), visit(0, 9, 2.0), visit(0, 12, 2.0)])
    assert [(start.steps, start.total) for start in source.starts] == [(9, 2.0)]
    assert source.counts[0] == 5


def test_the_most_visited_cell_makes_place():
    source = fill(RareFirst(cell_of, capacity=3), [visit(cell) for cell in (0, 1, 1, 1, 2, 2, 3, 3, 3, 3, 4)])
    assert sorted(start.observation.item() for start in source.starts) == [0, 2, 4]
    assert len(source.places) == len(source.cells) == 3
    assert dict(zip(source.cells, source.counts, strict=True)) == {0: 1, 2: 2, 4: 1}


def archive(source: Any) -> tuple[Any, ...]:
    """What is kept, with counts."""
    return (
        [start.observation.item() for start in source.starts],
        list(getattr(source, "counts", [])),
        vars(source).get("visits"),
    )


@pytest.mark.parametrize("source", [Visited(5), RareFirst(cell_of, 5)])
def test_state_and_file_bring_a_source_back(source: Source, tmp_path: Path):
    fill(source, [visit(cell) for cell in (0, 1, 2, 2, 3, 4, 5, 6)])
    state, path = source.clone_state(), tmp_path / "source.pkl"
    before = archive(source)
    source.save(path)

    def later(source: Source) -> list[float]:
        fill(source, [visit(cell) for cell in (7, 2, 8)], 3)
        rng = np.random.default_rng(2)
        return [source.choose(rng).observation.item() for _ in range(20)]  # type: ignore[union-attr]

    expected = later(source)
    loaded = Source.load(path)
    assert later(loaded) == expected
    for data in (state, pickle.loads(pickle.dumps(state))):
        source.restore_state(data)
        assert archive(source) == before
        assert later(source) == expected


def test_cells_of_vectors():
    env, grid = Walk(), Grid([0.5, np.inf])
    assert grid(env, np.array([0.4, 7.0])) == grid(env, np.array([0.1, 1e9])) != grid(env, np.array([0.5, 7.0]))
    assert grid(env, np.array([0.4, 7.0])) == grid(env, np.array([0.4, -7.0]))
    assert grid(env, np.array([-0.1, 0.0])) != grid(env, np.array([0.1, 0.0]))
    assert Grid(1.0, [1])(env, np.array([5.0, 2.5])) == (2,)
    assert Grid(1.0, "position")(env, {"position": np.array([1.5]), "other": 3}) == (1,)
    with pytest.raises(ValueError, match="wider than 0"):
        Grid([1.0, 0.0])


def test_cells_of_observations():
    env = Walk()
    observation = {"a": np.arange(6).reshape(2, 3), "b": (1, "text")}
    same = {"a": np.arange(6).reshape(2, 3).T.copy().T, "b": (1, "text")}
    assert hashed(env, observation) == hashed(env, same) != hashed(env, {**same, "b": (2, "text")})
    assert hashed(env, np.arange(6)) != hashed(env, np.array([0, 1, 2, 3, 4, 6]))


def test_cells_of_pictures():
    """The mean of each area, worked out by a plain loop on sizes that do not divide."""
    env, rng = Walk(), np.random.default_rng(0)
    picture = rng.integers(0, 256, (21, 16, 3), dtype=np.uint8)
    found = np.frombuffer(DownscaledImage(4, 5, 8)(env, picture), np.uint8).reshape(4, 5)  # type: ignore[arg-type]
    grey = picture.mean(axis=2)
    rows, columns = [0, 5, 10, 15, 21], [0, 3, 6, 9, 12, 16]
    for i in range(4):
        for j in range(5):
            mean = grey[rows[i] : rows[i + 1], columns[j] : columns[j + 1]].mean()
            assert found[i, j] == int(mean / 32)
    assert (
        DownscaledImage()(env, picture)
        == DownscaledImage()(env, picture.mean(axis=2))
        != DownscaledImage()(env, 255 - picture)
    )
    with pytest.raises(ValueError, match=r"shape \(3, 21, 16\) is no image"):
        DownscaledImage()(env, picture.transpose(2, 0, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shades=1"):
        DownscaledImage(shades=1)
