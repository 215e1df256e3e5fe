"""Ranks that learn together stay equal bit for bit, share their statistics, and let one of them write."""

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.critic import minibatches
from sb3_trpo.distributed import join
from tests.ranks import SMALL, identical, learned, on_ranks
from tests.toys import DICT_OBSERVATIONS, ToyEnv


class Witness(BaseCallback):
    """Writes down what the environments gave: raw observations, and episodes with the step at which they ended."""

    def _on_training_start(self) -> None:
        self.raw = [self.training_env.get_original_obs()]
        self.episodes: list[tuple[int, float]] = []
        self.first_obs = self.raw[0].copy()

    def _on_step(self) -> bool:
        self.raw.append(self.training_env.get_original_obs())
        self.episodes += [(self.num_timesteps, info["episode"]["r"]) for info in self.locals["infos"] if "episode" in info]
        return True


def ten_updates(folder: str) -> dict[str, Any]:
    folder += f"/rank{os.environ['RANK']}"
    env = VecNormalize(make_vec_env(ToyEnv, 2))
    model = TRPO("MlpPolicy", env, stats_window_size=30, **SMALL, tensorboard_log=folder)
    initial = learned(model)
    witness = Witness()
    model.learn(10 * 4 * 32, callback=[witness, CheckpointCallback(100, folder, save_vecnormalize=True)], progress_bar=True)
    model.save(Path(folder) / "last")
    return {
        "initial": initial,
        "learned": learned(model),
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "statistics": {name: vars(getattr(env, name)) for name in ("obs_rms", "ret_rms")},
        "window": [episode["r"] for episode in model.ep_info_buffer],
        "raw": np.stack(witness.raw),
        "episodes": witness.episodes,
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[list[dict[str, Any]], Path]:
    """Two ranks after ten updates, and the folder in which each was told to write to one of its own."""
    folder = tmp_path_factory.mktemp("ranks")
    results = on_ranks(ten_updates, str(folder))
    assert all(isinstance(result, dict) for result in results), results
    return results, folder


def test_after_ten_updates_all_ranks_are_identical(both):
    (first, second), _ = both
    assert not identical(first["initial"], second["initial"])  # seeds differ, and rank 0's parameters were taken over
    assert not identical(first["initial"], first["learned"])
    assert identical(first["learned"], second["learned"])
    assert first["updates"] == second["updates"] == 10
    assert first["steps"] == second["steps"] == 10 * 2 * 2 * 32


def test_running_statistics_are_those_of_all_observations(both):
    """The moments of all that both ranks' environments gave, by SB3's own accumulation, to 1e-9."""
    (first, second), _ = both
    assert not np.array_equal(first["raw"][0], second["raw"][0])  # environments are seeded differently
    truth = RunningMeanStd(shape=(4,))
    for result in (first, second):
        for observations in result["raw"]:
            truth.update(observations)
    for result in (first, second):
        statistics = result["statistics"]["obs_rms"]
        assert statistics["count"] == pytest.approx(truth.count, rel=1e-12)
        assert np.allclose(statistics["mean"], truth.mean, rtol=0.0, atol=1e-9)
        assert np.allclose(statistics["var"], truth.var, rtol=1e-9)
    for name in ("obs_rms", "ret_rms"):
        for key, value in first["statistics"][name].items():
            assert np.array_equal(value, second["statistics"][name][key])


def test_episode_statistics_are_those_of_all_episodes(both):
    (first, second), _ = both
    everyone = sorted(first["episodes"] + second["episodes"], key=lambda episode: episode[0])
    assert len(everyone) > 30
    assert first["window"] == second["window"] == [reward for _, reward in everyone][-30:]


def test_one_rank_writes(both):
    (first, _), folder = both
    assert [path.name for path in folder.iterdir()] == ["rank0"]
    folder /= "rank0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "TRPO_1",
        "last.zip",
        *(f"rl_model_{steps}_steps.zip" for steps in (1200, 400, 800)),
        *(f"rl_model_vecnormalize_{steps}_steps.pkl" for steps in (1200, 400, 800)),
    ]
    assert len(list((folder / "TRPO_1").iterdir())) == 1
    saved = TRPO.load(folder / "last", device="cpu")
    assert saved.num_timesteps == first["steps"] and identical(learned(saved), first["learned"])


def resumed(archive: str) -> dict[str, Any]:
    model = TRPO.load(archive, env=make_vec_env(ToyEnv, 2), device="cpu")
    before = learned(model)
    model.learn(256, reset_num_timesteps=False)
    return {"before": before, "after": learned(model), "steps": model.num_timesteps, "updates": model._n_updates}


def test_a_checkpoint_resumes_the_run(both):
    (result, _), folder = both
    first, second = on_ranks(resumed, str(folder / "rank0" / "last.zip"))
    assert identical(first["before"], result["learned"]) and identical(first["after"], second["after"])
    assert not identical(first["before"], first["after"])
    assert (first["steps"], first["updates"]) == (second["steps"], second["updates"]) == (result["steps"] + 256, 12)


class StopAt(BaseCallback):
    def __init__(self, rank: int, calls: int):
        super().__init__()
        self.rank, self.calls = rank, calls

    def _on_step(self) -> bool:
        return self.model._rank != self.rank or self.n_calls < self.calls


def stopped(rank: int) -> tuple[int, bool]:
    """Stopped on one rank, while rank 0 evaluates."""
    env, eval_env = make_vec_env(ToyEnv, 2), make_vec_env(ToyEnv, 1)
    model = TRPO("MlpPolicy", env, **SMALL)
    evaluation = EvalCallback(eval_env, eval_freq=1, n_eval_episodes=2, verbose=0)
    model.learn(1000, callback=[EveryNTimesteps(40, evaluation), StopAt(rank, 40)])
    return model.num_timesteps, math.isfinite(evaluation.last_mean_reward)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_callback_stops_all_ranks(rank):
    """After the rollout in which one rank was stopped, eight steps into it; what the others have done counts."""
    assert on_ranks(stopped, rank) == [(2 * 2 * 32 + 2 * 8 + 2 * 32, True), (2 * 2 * 32 + 2 * 8 + 2 * 32, False)]


def with_a_fault(rank: int) -> dict[str, Any]:
    """NaN in the second rollout of one rank's only environment."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    join_rank = model._rank
    model.set_env(make_vec_env(lambda: ToyEnv(faults={40: ("observation", math.nan)} if join_rank == rank else {}), 1))
    seen: list[dict[str, th.Tensor]] = []

    class Remember(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            seen.append(learned(self.model))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(3 * 2 * 32, callback=Remember())
    return {"seen": [*seen, learned(model)], "warnings": [str(warning.message) for warning in caught]}


def test_a_value_that_is_not_a_number_skips_the_update_on_all_ranks():
    first, second = on_ranks(with_a_fault, 1)
    for result in (first, second):
        one, two, three, four = result["seen"]
        assert not identical(one, two) and identical(two, three) and not identical(three, four)
    assert identical(first["seen"][-1], second["seen"][-1])
    assert any("observations is nan at step 8" in text and "of rank 1" in text for text in first["warnings"])
    assert not any("skipped" in text for text in second["warnings"])


def monte_carlo(reward: float) -> tuple[float, float, list[str]]:
    """Sum and number of the returns, the baseline, and the warnings, where rank 1's second reward is given."""
    faults = {2: ("reward", reward)} if join().rank == 1 else {}
    settings = {**SMALL, "normalize_advantage": False, "advantage_estimator": "monte_carlo"}
    model = TRPO("MlpPolicy", make_vec_env(lambda: ToyEnv(faults=faults), 1), **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(64)
    buffer = model.rollout_buffer
    baseline = float((buffer.returns - buffer.advantages).mean())
    return float(buffer.returns.mean()), baseline, [str(warning.message) for warning in caught]


def test_the_monte_carlo_baseline_is_the_mean_over_all_ranks():
    (first, own, _), (second, other, _) = on_ranks(monte_carlo, 100.0)
    assert abs(first - second) > 1.0
    assert own == pytest.approx(other, abs=1e-4) == pytest.approx((first + second) / 2, abs=1e-4)
    (_, _, texts), _ = on_ranks(monte_carlo, math.nan)
    assert any("rewards is nan at step 1 of the rollout in environment 0 of rank 1" in text for text in texts)


def with_dropout(small_work: int) -> dict[str, th.Tensor]:
    minibatches.SMALL_WORK = small_work
    env = make_vec_env(lambda: ToyEnv(observation_space=DICT_OBSERVATIONS), 1)
    kwargs = {"activation_fn": lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.5)), "share_features_extractor": False}
    model = TRPO("MultiInputPolicy", env, policy_kwargs=kwargs, **{**SMALL, "n_steps": 16}, n_critic_updates=2)
    return learned(model.learn(2 * 2 * 16))


@pytest.mark.parametrize("small_work", [2**30, 0])
def test_a_critic_that_draws_random_numbers_stays_the_same_on_all_ranks(small_work):
    """Dropout: the same masks where every rank makes the whole fit, and where minibatches are shared, one sum of gradients."""
    first, second = on_ranks(with_dropout, small_work)
    assert isinstance(first, dict) and identical(first, second)


def with_a_vine(branch_length: int) -> dict[str, Any]:
    model = TRPO(
        "MlpPolicy", make_vec_env("CartPole-v1", 2), sampling="vine", **SMALL, vine_kwargs={"branch_length": branch_length}
    )
    own = []
    sampler_for = model._sampler_for

    def spied(env: Any) -> Any:
        vine = sampler_for(env)
        if not own:
            grow = vine.grow
            vine.grow = lambda *args: own.append(grow(*args)) or own[-1]
        return vine

    model._sampler_for = spied
    model.learn(500)
    places = [batch.places for batch in own]
    steps = sum(batch.steps for batch in own)
    return {"learned": learned(model), "total": model.num_timesteps, "steps": steps, "places": places, "rollouts": len(own)}


def test_every_rank_grows_branches_of_its_own():
    first, second = on_ranks(with_a_vine, 5)
    assert identical(first["learned"], second["learned"])
    assert first["places"] != second["places"]
    assert first["rollouts"] == second["rollouts"] >= 2
    assert first["total"] == second["total"] == first["rollouts"] * 128 + first["steps"] + second["steps"]


def gathered(dtype: th.dtype) -> th.Tensor:
    ranks = join()
    return ranks.concatenate((th.arange(6).view(3, 2) + ranks.rank).to(dtype))


@pytest.mark.parametrize("dtype", [th.int16, th.uint8, th.bool, th.float64, th.bfloat16])
def test_numbers_of_any_type_can_be_put_together(dtype):
    """gloo does not know all of them."""
    rows = th.arange(6).view(3, 2)
    for found in on_ranks(gathered, dtype):
        assert found.dtype == dtype and th.equal(found, th.cat([rows, rows + 1]).to(dtype))


def logged(folder: str) -> int:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    model.set_logger(configure(os.path.join(folder, str(model._rank)), ["csv"]))
    model.learn(128)
    return len(model.logger.output_formats)


def test_a_logger_of_the_users_is_rank_0s(tmp_path):
    assert on_ranks(logged, str(tmp_path)) == [1, 0]
    assert "train/status" in (tmp_path / "0" / "progress.csv").read_text()
    assert (tmp_path / "1" / "progress.csv").read_text() == ""
