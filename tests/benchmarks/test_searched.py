"""What a search for settings leaves, and that the comparison runs with it."""

import json
from pathlib import Path

import optuna
import pytest

from benchmarks.common import Cell, Runs, environment
from benchmarks.common.training import policy_kwargs_of, settings_for
from benchmarks.learning import comparison, searched, spaces, tuning

ENV = "Swimmer-v5"
LAMBDA = 0.85  # RL Zoo's space ends at 0.9

pytestmark = pytest.mark.filterwarnings("ignore:Fixed parameter one_minus_gamma:UserWarning")  # RL Zoo's own settings


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search of four trials: PPO's settings, and the same with one or two of them changed."""
    monkeypatch.setattr(environment, "RESULTS", tmp_path)
    study, first = tuning.begun_study("ppo", ENV), spaces.SPACES["ppo"].as_drawn(settings_for("ppo", ENV))
    for changed in ({}, {"one_minus_gae_lambda": 1.0 - LAMBDA, "n_steps_pow": 9}, {"n_epochs": 5}, {"n_epochs": 20}):
        study.enqueue_trial({**first, **changed})
        trial = study.ask()
        spaces.SPACES["ppo"].draw(trial, ENV)
        study.tell(trial, 100.0)
    return tmp_path


def test_a_search_is_over_when_the_best_have_all_their_repetitions(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The winner is among those that were repeated to the end, and has the best mean: one lucky seed is not enough."""
    scores = {101: [100.0, 90.0, 300.0, 105.0], 102: [100.0, 130.0, -10.0, 109.0], 103: [100.0, 100.0, 0.0]}
    asked: list[tuple[int, int]] = []

    def score(algo: str, env_id: str, drawn: dict, seed: int) -> float:
        trial = 1 if drawn["n_steps"] == 512 else {10: 0, 5: 2, 20: 3}[drawn["n_epochs"]]
        asked.append((seed, trial))
        if len(asked) == 11:
            raise KeyboardInterrupt
        return scores[seed][trial]

    monkeypatch.setattr(tuning, "score_of", score)
    study = searched.study_of("ppo", ENV)
    with pytest.raises(KeyboardInterrupt):
        tuning.repeat_best(study, "ppo", ENV)
    assert not searched.has_settings("ppo_tuned", ENV) and searched.has_settings("ppo", ENV)
    tuning.repeat_best(study, "ppo", ENV)
    assert sorted(set(asked)) == [(seed, trial) for seed in scores for trial in range(len(scores[seed]))] and len(asked) == 12
    assert searched.winner("ppo", ENV) == 1 and searched.has_settings("ppo_tuned", ENV)
    assert "| 4 | 0 | 100 (100, 100, 100) | 107 (90, 130, 100) |" in tuning.table()


def test_the_comparison_runs_with_what_a_search_has_found(results: Path) -> None:
    """The winner's settings, and what the task's settings have besides; the run's file has them, too."""
    for seed in (101, 102, 103):
        for trial, score in enumerate((1.0, 3.0, 2.0)):
            searched.add_repetition("ppo", ENV, trial, seed, score)
    short = {"n_timesteps": 256, "n_steps": 64}
    cell = Cell(ENV, "ppo_tuned", 0, changes=short)
    assert comparison.STUDY.included(cell)
    run = comparison.run(cell)
    assert run is not None
    store = Runs("comparison")
    store.write(cell, run)
    (path,) = store.paths(ENV, "ppo_tuned")
    settings = json.loads(path.with_suffix(".json").read_text())["settings"]
    zoo = settings_for("ppo", ENV)
    network = policy_kwargs_of(settings)
    assert (settings["gae_lambda"], network["log_std_init"]) == (pytest.approx(LAMBDA), 0.0)
    same = {name: value for name, value in {**zoo, **short}.items() if name not in ("gae_lambda", "policy_kwargs")}
    assert {name: settings[name] for name in same} == pytest.approx(same)


def test_ppo_draws_lambda_as_far_down_as_trpo_does() -> None:
    """Both to 0.8: of 200 draws, some are below RL Zoo's 0.9, none below 0.8."""
    for algo, space in spaces.SPACES.items():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        drawn = [space.draw(study.ask(), ENV)["gae_lambda"] for _ in range(200)]
        assert 0.8 <= min(drawn) < 0.9, algo


def test_where_a_search_keeps_the_settings_the_runs_before_it_count(results: Path) -> None:
    """There is nothing new to run; the method whose runs count has as many seeds as the one that was searched."""
    assert (searched.same_as("ppo_tuned", ENV), searched.seeds_of("ppo", ENV)) == ("ppo_tuned", 5)
    for seed in (101, 102, 103):
        for trial, score in enumerate((3.0, 2.0, 1.0)):
            searched.add_repetition("ppo", ENV, trial, seed, score)
    assert (searched.same_as("ppo_tuned", ENV), searched.seeds_of("ppo", ENV)) == ("ppo", 10)
    included = [comparison.STUDY.included(Cell(ENV, method, 9)) for method in ("ppo", "ppo_tuned", "sb3_trpo")]
    assert included == [True, False, True]
