"""Several ranks take the step that one process with all their environments takes."""

from contextlib import nullcontext
from copy import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_trpo import TRPO
from sb3_trpo.critic import minibatches
from sb3_trpo.critic.minibatches import rank_minibatches
from sb3_trpo.distributed import join
from sb3_trpo.ranks import ALONE, mean_and_std
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
from tests.ranks import SMALL, identical, learned, on_ranks
from tests.toys import ToyEnv


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
    fisher = FisherMatrix([lambda: linearization], DiagonalGaussian(), 1.0, ranks)
    solution = conjugate_gradient(fisher.product, gradient, 60, tolerance=1e-12)
    step = full_step(solution, gradient, 0.02)
    search = backtracking_line_search(evaluate, theta.detach(), evaluate(theta.detach()), step, 0.02, 0.8, 10, ranks)
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


@pytest.mark.parametrize("value", [-0.1, 1.0 / 3.0, 1e7 + 0.3])
def test_equal_values_have_no_deviation(value):
    """Or rounding would be learned from, once it is divided by itself."""
    for count in (200, 2048, 3001):
        values = th.full((count,), value)
        mean, std = mean_and_std(values, ALONE)
        assert float(std) == 0.0 and float(mean) == float(values[0])


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


def fed(rows: dict[str, np.ndarray] | None, parameters: Any, kind: str, n_envs: int, small: tuple[int, int]) -> dict[str, Any]:
    """A model after one update from these samples; from a rollout of its own if there are none."""
    minibatches.SMALL_WORK, minibatches.SMALL_DATA = small
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


SMALL_WORK_AND_DATA = {"fitted by each": (2**22, 2**26), "in equal parts": (0, 2**26), "each its own samples": (0, 0)}


@pytest.mark.parametrize("kind", list(CRITICS))
@pytest.mark.parametrize("critic", list(SMALL_WORK_AND_DATA))
def test_two_ranks_of_two_environments_are_one_process_of_four(kind, critic):
    """Fed the same data: the policy's step to 0.5 % of its norm, the critic to 1e-6, the log to 1 %."""
    small = SMALL_WORK_AND_DATA[critic]
    source = fed(None, None, kind, 4, small)
    whole = fed(source["rows"], source["parameters"], kind, 4, small)
    first, second = on_ranks(fed, source["rows"], source["parameters"], kind, 2, small)
    assert identical(first["after"], second["after"])
    assert first["steps"] == second["steps"] == whole["steps"] == 128
    step, expected = change(first, True), change(whole, True)
    assert float(expected.norm()) > 0.01
    assert float((step - expected).norm()) < 0.005 * float(expected.norm())
    moved, expected = change(first, False), change(whole, False)
    assert float(expected.abs().max()) > 0.01
    assert float((moved - expected).abs().max()) < 1e-6
    for key in (
        "train/kl_divergence_loss",
        "train/kl_max",
        "train/value_loss",
        "train/explained_variance",
        "train/bound_lower",
    ):
        assert first["log"][key] == pytest.approx(whole["log"][key], rel=0.01)


@pytest.mark.parametrize("held", [8, 24])
def test_shares_of_a_minibatch_make_up_the_whole(held):
    """A permutation of 3 · 8 samples in minibatches of 7: on three ranks together exactly the samples of one process."""
    order = th.randperm(24, generator=th.Generator().manual_seed(1))
    parts = [rank_minibatches(order, 7, held, SimpleNamespace(rank=rank, size=3)) for rank in range(3)]
    whole_order, whole = rank_minibatches(order, 7, 24, SimpleNamespace(rank=0, size=1))
    assert th.equal(whole_order, order) and [minibatch.size for minibatch in whole] == [7, 7, 7, 3]
    for index, minibatch in enumerate(whole):
        offset = held % 24  # of a rank's samples among all
        shared = [offset * rank + own[batches[index].rows] for rank, (own, batches) in enumerate(parts)]
        assert all(batches[index].size == minibatch.size for _, batches in parts)
        assert sorted(th.cat(shared).tolist()) == sorted(order[minibatch.rows].tolist())
        assert held == 8 or max(map(len, shared)) - min(map(len, shared)) <= 1
