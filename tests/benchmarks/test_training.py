"""What the benchmarks compute from runs, and what they begin with."""

import inspect
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch as th

from benchmarks.atari import study as atari
from benchmarks.common import Cell, environment, statistics
from benchmarks.common.training import Plan, make_run, policy_kwargs_of, settings_for, train
from benchmarks.learning import ablations, candidates, changes, overall, same_settings, signal, spaces, tuning
from sb3_trpo import TRPO

SEARCHES = [(algo, env_id) for algo, tasks in tuning.SEARCHED.items() for env_id in sorted(tasks)]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pendulum's discount factor is outside the space
@pytest.mark.parametrize("algo, env_id", SEARCHES)
def test_a_search_begins_with_the_settings_there_are(algo: str, env_id: str) -> None:
    """The first trial draws nothing: what the settings do not say is the constructor's default. Repeated, it is the same."""
    settings, space = settings_for(algo, env_id), spaces.SPACES[algo]
    defaults = {name: parameter.default for name, parameter in inspect.signature(space.algorithm).parameters.items()}
    study = optuna.create_study()
    study.enqueue_trial(space.as_drawn(settings))
    trial = study.ask()
    drawn = space.draw(trial, env_id)
    assert space.convert(trial.params) == drawn
    network = {"log_std_init": 0.0, "net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": th.nn.Tanh}
    expected = {**network, **policy_kwargs_of(settings)}
    assert {**expected, **drawn.pop("policy_kwargs")} == expected
    assert drawn == pytest.approx({name: {**defaults, **settings}[name] for name in drawn}, abs=2e-8)


@pytest.mark.parametrize("env_id, ours", [("Hopper-v5", {"gamma": 0.995}), ("Swimmer-v5", {"gae_lambda": 0.99})])
def test_settings_for_sb3_contrib_are_converted_back(env_id: str, ours: dict[str, float]) -> None:
    """Truth: RL Zoo's own file, from which ours differ in one number; the KL's bound is sb3-contrib's default there."""
    zoo = {**settings_for("sb3_contrib", env_id), "target_kl": 0.01, "cg_damping": pytest.approx(0.1)}
    assert same_settings.converted(env_id) == {**zoo, **ours}


@pytest.mark.parametrize("label", [label for label, variant in ablations.VARIANTS.items() if variant.methods])
def test_ablations_of_functions_learn(label: str) -> None:
    """They take what TRPO.train passes, and their steps keep the trust region; one with no damping in it is longer."""
    steps = {}
    for name in ("defaults", label):
        algorithm = type("TRPO", (TRPO,), ablations.VARIANTS[name].methods)
        model = algorithm("MlpPolicy", "CartPole-v1", n_steps=256, seed=0).learn(256)
        assert model.last_update["train/status"] == "ok"
        assert 0.0 < model.logger.name_to_value["train/kl_divergence_loss"] <= 0.01
        steps[name] = model.logger.name_to_value["train/step_size"]
    assert steps[label] > steps["defaults"] if "damping" in label else steps[label] == steps["defaults"]


def test_ranks_keep_the_order_and_make_the_advantages_normal() -> None:
    """Of a heavy-tailed sample: mean 0, variance 1 and kurtosis 3, each to 2 % of the scale."""
    model = TRPO("MlpPolicy", "Pendulum-v1", n_steps=2048, seed=0).learn(2048)
    before = TRPO._read_samples(model).advantages
    before.copy_(th.as_tensor(np.random.default_rng(0).standard_t(3, len(before))))
    after = changes.with_ranked_advantages(model).advantages
    assert th.equal(after.argsort(), before.argsort())
    moments = [float(after.pow(power).mean()) for power in (1, 2, 4)]
    np.testing.assert_allclose(moments, [0.0, 1.0, 3.0], rtol=0.02, atol=1e-6)


def test_what_halves_of_a_rollout_promise_changes_no_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The policy after three updates is that without the measurement; a half promises more than the other half finds."""
    monkeypatch.setattr(signal, "STEPS", 6144)
    ends: list[np.ndarray] = []
    monkeypatch.setattr(signal, "train", lambda plan: ends.append(_end_of(plan)))
    rows = signal.run(Cell("Hopper-v5", seed=1)).rows
    plan = Plan("sb3_trpo", "Hopper-v5", settings_for("sb3_trpo", "Hopper-v5"), 6144, 1, every=6144)
    np.testing.assert_array_equal(ends[0], _end_of(plan))
    assert len(rows) == 3 and all(abs(row["kept"]) < row["promised"] for row in rows)


def _end_of(plan: Plan) -> np.ndarray:
    model, _ = train(plan)
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().numpy()


@pytest.mark.parametrize("normalize", [False, True, {"norm_obs": False}, {"norm_reward": False}])
def test_evaluations_are_normalised_as_training_is(normalize: bool | dict[str, bool]) -> None:
    """With the training's running statistics, where it has any."""
    model, observer = train(
        Plan("sb3_trpo", "CartPole-v1", {"policy": "MlpPolicy", "normalize": normalize}, steps=128, seed=0)
    )
    assert 1.0 <= observer.rows[-1]["mean"] <= 500.0
    trained, evaluated = model.get_vec_normalize_env(), observer.env
    assert (trained is not None) == bool(normalize)
    if trained is not None and trained.norm_obs:
        np.testing.assert_array_equal(evaluated.obs_rms.mean, trained.obs_rms.mean)  # type: ignore[attr-defined]


def test_bootstrap_intervals() -> None:
    """Truth: percentiles of 20,000 resampled interquartile means, and of differences of two; within 0.05."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=10), rng.normal(1.0, 1.0, 5)

    def resampled(scores: np.ndarray) -> np.ndarray:
        return np.sort(rng.choice(scores, (20_000, len(scores))))[:, len(scores) // 4 : len(scores) - len(scores) // 4].mean(
            axis=1
        )

    means, others = resampled(ours), resampled(theirs)
    np.testing.assert_allclose(statistics.interval(list(ours)), np.percentile(means, [2.5, 97.5]), atol=0.05)
    difference = statistics.interval_of_difference(list(ours), list(theirs))
    np.testing.assert_allclose(difference, np.percentile(means - others, [2.5, 97.5]), atol=0.05)


def test_the_probability_of_improvement_counts_pairs_of_runs() -> None:
    """Two tasks: 5 of 6 pairs, of which one is a tie, and 1 of 4; the interval against 4,000 resamples counted by hand."""
    pairs = [([3.0, 2.0], [1.0, 2.0, 0.0]), ([1.0, 5.0], [4.0, 6.0])]

    def by_hand(pairs: list[Any]) -> float:
        return float(np.mean([np.mean([(a > b) + (a == b) / 2 for a in ours for b in theirs]) for ours, theirs in pairs]))

    probability, low, high = statistics.probability_of_improvement(pairs)
    assert probability == pytest.approx(by_hand(pairs)) == pytest.approx((5.5 / 6 + 1 / 4) / 2)
    rng = np.random.default_rng(0)
    drawn = [by_hand([tuple(rng.choice(scores, len(scores)) for scores in pair) for pair in pairs]) for _ in range(4_000)]
    np.testing.assert_allclose((low, high), np.percentile(drawn, [2.5, 97.5]), atol=0.05)


def test_the_share_of_seeds_near_the_median() -> None:
    assert statistics.share_near_median([79.0, 100.0, 120.0, 81.0, 300.0]) == pytest.approx(3 / 5)
    assert statistics.share_near_median([-4.0, -4.1, -9.0]) == pytest.approx(2 / 3)


def test_the_profile_is_the_mean_over_tasks_of_the_share_of_runs_above() -> None:
    found = overall.profile([np.array([0.5, 1.2]), np.array([0.2])])
    at = {round(float(tau), 2): share for tau, share in zip(overall.THRESHOLDS, found, strict=True)}
    assert (at[0.1], at[0.2], at[0.6], at[1.3]) == (1.0, 0.5, 0.25, 0.0)


def test_shares_of_our_runs_say_how_long_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halfway from the random player to the human one is 50 %."""
    folder = tmp_path / "atari" / "runs" / "Pong"
    folder.mkdir(parents=True)
    run = {"mean": (-20.4 - 3.0) / 2, "steps": 503_808, "seed": 0, "train_seconds": 3600}
    (folder / "vine_seed0.json").write_text(json.dumps(run))
    (folder / "vine_seed0.csv").write_text("steps,mean,seconds\n")
    monkeypatch.setattr(environment, "RESULTS", tmp_path)
    (row,) = (line for line in atari.share_table().splitlines() if line.startswith("| **sb3_trpo, vine** |"))
    assert "| 50 % |" in row and row.endswith("| 503,808 steps |")


def test_candidates_are_called_by_what_is_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row for all runs with the same settings, whatever their files are called, dots included, an empty one like none."""
    monkeypatch.setattr(environment, "RESULTS", tmp_path)
    plan = Plan("sb3_trpo", "Hopper-v5", settings_for("sb3_trpo", "Hopper-v5"), steps=2048, seed=0, final_episodes=1)
    for seed, more in ((101, {}), (102, {"policy_kwargs": {}})):
        found = make_run(replace(plan, seed=seed), {"gamma": 0.9, **more})
        assert found is not None
        candidates.STORE.write(Cell("Hopper-v5", "gamma_0.9", seed), found)
    scores = [frame["mean"].iloc[-1] for frame in candidates.STORE.frames("Hopper-v5", "gamma_0.9")]
    assert len(scores) == 2
    row = f"| Hopper-v5 | `gamma=0.9` | {np.mean(scores):.0f} | {scores[0]:.0f}, {scores[1]:.0f} |"
    assert candidates.table().splitlines()[2:] == [row]
