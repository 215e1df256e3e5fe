"""Several ranks take the step that one process with all their environments takes, and stay equal bit for bit."""

import math
import os
import signal
import time
import warnings
from contextlib import nullcontext
from copy import copy
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
import torch.distributed as dist
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.critic import minibatches
from sb3_trpo.critic.minibatches import share_of
from sb3_trpo.distributed import join, mean_and_std, process_group
from sb3_trpo.trust_region import (
    AutogradLinearization,
    DiagonalGaussian,
    Evaluation,
    FisherMatrix,
    Status,
    backtracking_line_search,
    conjugate_gradient,
    flatten,
    full_step,
    unflatten,
)
from tests.ranks import free_port, on_ranks
from tests.toys import DICT_OBSERVATIONS, ToyEnv

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 48, "device": "cpu", "seed": 0, "cg_max_steps": 8}


def learned(model: TRPO) -> dict[str, th.Tensor]:
    """Everything that learning leaves in networks and optimizer, by name."""
    state = {name: value.clone() for name, value in model.policy.state_dict().items()}
    for index, moments in model.policy.optimizer.state_dict()["state"].items():
        state |= {f"{index}.{name}": value.clone() for name, value in moments.items()}
    return state


def identical(one: dict[str, th.Tensor], other: dict[str, th.Tensor]) -> bool:
    return one.keys() == other.keys() and all(th.equal(one[name], other[name]) for name in one)


# --- the step ---------------------------------------------------------------------------------------------------------------


def solve(parts: int) -> dict[str, Any]:
    """A whole step in float64 from one of ``parts`` equal parts of a batch."""
    ranks = join()
    assert ranks.size == parts
    generator = th.Generator().manual_seed(0)
    observations = th.randn(60, 4, dtype=th.float64, generator=generator)
    noise, advantages = th.randn(60, 2, dtype=th.float64, generator=generator), th.randn(60, 1, generator=generator).double()
    weights = [0.5 * th.randn(shape, dtype=th.float64, generator=generator) for shape in ((4, 8), (8, 4))]
    here = slice(ranks.rank * 60 // parts, (ranks.rank + 1) * 60 // parts)
    observations, noise, advantages = observations[here], noise[here], advantages[here]
    theta = flatten(weights)

    def outputs(vector: th.Tensor) -> th.Tensor:
        first, second = unflatten(vector, weights)
        return th.tanh(observations @ first) @ second

    old = outputs(theta)
    actions = old[:, :2] + noise * old[:, 2:].exp()

    def log_prob(phi: th.Tensor) -> th.Tensor:
        mean, log_std = phi.chunk(2, dim=1)
        return (-0.5 * ((actions - mean) / log_std.exp()) ** 2 - log_std).sum(dim=1)

    def surrogate(phi: th.Tensor) -> th.Tensor:
        return ((log_prob(phi) - log_prob(old)).exp() * advantages[:, 0]).mean()

    def evaluate(vector: th.Tensor) -> Evaluation:
        phi = outputs(vector)
        value = float(ranks.mean(surrogate(phi)))
        return Evaluation(value, DiagonalGaussian().kl_divergence(old, phi), th.ones(len(phi)), 0.0)

    leaves = [weight.requires_grad_() for weight in weights]
    linearization = AutogradLinearization(th.tanh(observations @ leaves[0]) @ leaves[1], leaves)
    gradient = ranks.mean(linearization.gradient(surrogate(linearization.at), keep=True))
    fisher = FisherMatrix([lambda: linearization], DiagonalGaussian(), 1.0, ranks.mean)
    solution = conjugate_gradient(fisher.product, gradient, 60, tolerance=1e-12)
    step = full_step(solution, gradient, 0.02)
    search = backtracking_line_search(evaluate, theta.detach(), evaluate(theta.detach()), step, 0.02, 0.8, 10, ranks.mean)
    return {
        "theta": search.theta,
        "status": search.status,
        "form": fisher.quadratic_form(solution.x),
        "x": solution.x,
        "solved": solution.status,
    }


def test_the_solver_in_double_precision():
    """Direction, quadratic form and accepted parameters from two halves of a batch are the whole batch's to 1e-9."""
    whole = solve(1)
    assert whole["status"] is whole["solved"] is Status.OK
    first, second = on_ranks(solve, 2)
    for part in (first, second):
        assert part["status"] is Status.OK
        assert part["form"] == pytest.approx(whole["form"], rel=1e-9)
        assert th.allclose(part["x"], whole["x"], rtol=0.0, atol=1e-9 * float(whole["x"].norm()))
        assert th.allclose(part["theta"], whole["theta"], rtol=0.0, atol=1e-9)
    assert th.equal(first["theta"], second["theta"])


def moments() -> tuple[th.Tensor, th.Tensor]:
    ranks = join()
    return mean_and_std(th.arange(10.0) ** 2 if ranks.rank == 0 else -th.arange(10.0), ranks)


def test_mean_and_standard_deviation_are_those_of_all_samples():
    """NumPy's over both ranks' samples, to float32's rounding, 1e-6."""
    together = np.concatenate([np.arange(10.0) ** 2, -np.arange(10.0)])
    for mean, std in on_ranks(moments):
        assert float(mean) == pytest.approx(together.mean(), rel=1e-6)
        assert float(std) == pytest.approx(together.std(ddof=1), rel=1e-6)


class FedTRPO(TRPO):
    """Updates from given samples: rows of every array of the rollout buffer, step by step and environment by environment."""

    rows: dict[str, np.ndarray]

    def collect_rollouts(self, env, callback, rollout_buffer, n_rollout_steps):
        rollout_buffer.reset()
        held = len(self.rows["rewards"]) // self._ranks.size
        for name, rows in self.rows.items():
            part = rows[self._ranks.rank * held : (self._ranks.rank + 1) * held]
            setattr(rollout_buffer, name, part.reshape(getattr(rollout_buffer, name).shape).copy())
        rollout_buffer.full, rollout_buffer.pos = True, rollout_buffer.buffer_size
        self.num_timesteps += held * self._ranks.size
        self._ranks = copy(self._ranks)  # ours to change
        self._ranks.generator = th.Generator().manual_seed(5)
        self._ranks.same_random_numbers = nullcontext
        return True


CRITICS = {
    "small": {"net_arch": [16, 16]},
    "own extractors": {"net_arch": [16, 16], "share_features_extractor": False},
}


def fed(rows: dict[str, np.ndarray] | None, parameters: Any, kind: str, n_envs: int, small_work: int) -> dict[str, Any]:
    """A model after one update from these samples; from a rollout of its own if there are none."""
    minibatches.SMALL_WORK = small_work
    env = make_vec_env(ToyEnv, n_envs, seed=0)
    model = (FedTRPO if rows else TRPO)("MlpPolicy", env, policy_kwargs=CRITICS[kind], **SMALL)
    if rows is None:
        model.train = lambda: None
        model.learn(SMALL["n_steps"] * n_envs)
        names = ("observations", "actions", "rewards", "values", "log_probs", "advantages", "returns", "episode_starts")
        arrays = {name: getattr(model.rollout_buffer, name) for name in names}
        flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
        return {"rows": flat, "parameters": model.get_parameters()}
    model.rows = rows
    model.set_parameters(parameters)
    before = learned(model)
    model.learn(len(rows["rewards"]))
    return {"before": before, "after": learned(model), "log": dict(model.logger.name_to_value), "steps": model.num_timesteps}


ACTORS_OWN = ("mlp_extractor.policy_net", "action_net", "log_std")


def change(result: dict[str, Any], actors: bool) -> th.Tensor:
    names = [name for name in result["before"] if name.startswith(ACTORS_OWN) is actors and not name[0].isdigit()]
    return flatten([result["after"][name] - result["before"][name] for name in names])


@pytest.mark.parametrize(
    "kind, small_work", [("small", 2**22), ("small", 0), ("own extractors", 2**22), ("own extractors", 0)]
)
def test_two_ranks_of_two_environments_are_one_process_of_four(kind, small_work):
    """Fed the same data: the policy's step to 0.5 % of its norm, the critic to 1e-6, the log to 1 %.

    With every rank fitting the critic alone, and with gradients added up over ranks.
    """
    source = fed(None, None, kind, 4, minibatches.SMALL_WORK)
    whole = fed(source["rows"], source["parameters"], kind, 4, minibatches.SMALL_WORK)
    first, second = on_ranks(fed, source["rows"], source["parameters"], kind, 2, small_work)
    assert identical(first["after"], second["after"])
    assert first["steps"] == second["steps"] == whole["steps"] == 128
    step, expected = change(first, True), change(whole, True)
    assert float(expected.norm()) > 0.01
    assert float((step - expected).norm()) < 0.005 * float(expected.norm())
    critic, expected = change(first, False), change(whole, False)
    assert float(expected.abs().max()) > 0.01
    assert float((critic - expected).abs().max()) < 1e-6
    for key in (
        "train/kl_divergence_loss",
        "train/kl_max",
        "train/value_loss",
        "train/explained_variance",
        "train/bound_lower",
    ):
        assert first["log"][key] == pytest.approx(whole["log"][key], rel=0.01)


def test_shares_of_a_minibatch_make_up_the_whole():
    """A permutation of 3 · 8 samples in minibatches of 7: on three ranks together exactly the samples of one process."""
    order = th.randperm(24, generator=th.Generator().manual_seed(1))
    parts = [share_of(order, 7, SimpleNamespace(rank=rank, size=3)) for rank in range(3)]
    whole_order, whole = share_of(order, 7, SimpleNamespace(rank=0, size=1))
    assert th.equal(whole_order, order) and [minibatch.size for minibatch in whole] == [7, 7, 7, 3]
    for index, minibatch in enumerate(whole):
        shared = [8 * rank + own[batches[index].rows] for rank, (own, batches) in enumerate(parts)]
        assert all(batches[index].size == minibatch.size for _, batches in parts)
        assert sorted(th.cat(shared).tolist()) == sorted(order[minibatch.rows].tolist())


# --- learning ---------------------------------------------------------------------------------------------------------------


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
    vine_for = model._vine_for

    def spied(env: Any) -> Any:
        vine = vine_for(env)
        if not own:
            grow = vine.grow
            vine.grow = lambda *args: own.append(grow(*args)) or own[-1]
        return vine

    model._vine_for = spied
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


# --- what must not go unnoticed ---------------------------------------------------------------------------------------------


class Tamper(BaseCallback):
    """Moves one parameter of rank 1 by one unit in the last place, after the second rollout."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.model._rank == 1 and self.num_timesteps == 2 * 64:
            with th.no_grad():
                weight = self.model.policy.value_net.bias
                weight.copy_(th.nextafter(weight, weight + 1))


def tampered() -> None:
    TRPO("MlpPolicy", ToyEnv(), n_critic_updates=0, **SMALL).learn(1000, callback=Tamper())


def test_a_difference_between_ranks_is_raised_at_once():
    for error in on_ranks(tampered):
        assert "After update 2 the parameters of rank 1 are not those of rank 0" in error


def made_too_early(port: int) -> None:
    rank, size = (int(os.environ.pop(name)) for name in ("RANK", "WORLD_SIZE"))
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    model.learn(100)


def test_a_model_made_before_its_process_group_is_refused():
    """It would have rank 0's seed on every rank, and with it the same samples."""
    for rank, error in enumerate(on_ranks(made_too_early, free_port())):
        assert f"RuntimeError: This is rank {rank} of 2, but the model was made, and seeded, as rank 0 of 1" in error


def with_other_envs() -> None:
    n_envs = 1 + join().rank
    TRPO("MlpPolicy", make_vec_env(ToyEnv, n_envs), **SMALL).learn(100)


def test_different_numbers_of_environments_are_refused():
    for error in on_ranks(with_other_envs):
        assert "ValueError: Ranks must not differ in n_envs, which is 1 on rank 0 and 2 on rank 1" in error


def dying() -> str:
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    if model._rank == 1:
        model._check_parameters = lambda: os.kill(os.getpid(), signal.SIGKILL)
    begin = time.monotonic()
    try:
        model.learn(1000)
    except RuntimeError as error:
        return f"{error} ({time.monotonic() - begin < 30.0})"
    return "nothing"


def test_a_rank_that_is_killed_in_an_update_is_noticed_at_once():
    """Without torchrun to end it the other rank says what has happened; nobody waits for the timeouts."""
    survivor, killed = on_ranks(dying)
    assert killed == "ended"
    assert survivor.startswith("Rank 0 of 2 has lost the others") and survivor.endswith("(True)")


class Hang(BaseCallback):
    def _on_step(self) -> bool:
        return True

    def _on_training_start(self) -> None:
        if self.model._rank == 1:
            self.model._check_parameters = lambda: time.sleep(5.0)


def hanging() -> str:
    process_group.UPDATE_TIMEOUT = timedelta(seconds=2)
    begin = time.monotonic()
    try:
        TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(1000, callback=Hang())
    except RuntimeError as error:
        return f"after {time.monotonic() - begin:.0f} s: {error}"
    return "nothing"


def test_a_rank_that_hangs_in_an_update_is_noticed():
    assert "has lost the others" in on_ranks(hanging)[0]


def test_alone_there_is_nothing_to_do(tmp_path):
    """Without a launcher no process group is made, and saving, callbacks and seeds are SB3's."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(32)
    assert not th.distributed.is_initialized()
    model.save(tmp_path / "model")
    assert (tmp_path / "model.zip").exists()
