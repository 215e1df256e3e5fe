"""A rollout whose log-probabilities are not the policy's: the warning names what is the matter."""

import math
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor

from sb3_trpo import TRPO
from sb3_trpo.trust_region import DiagonalGaussian
from sb3_trpo.update import agreement
from tests.toys import ToyEnv

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}


class Own(FlattenExtractor):
    """Not SB3's: log-probabilities are computed at every step."""


class OtherForward(ActorCriticPolicy):
    """Acts with half of what it is optimised for."""

    def forward(self, obs: th.Tensor, deterministic: bool = False) -> Any:
        actions, values, log_probs = super().forward(obs, deterministic)
        return actions, values, 0.5 * log_probs


class At(BaseCallback):
    """Does something to the model at the rollout's start, at its fifth step, or at its end."""

    def __init__(self, stage: str, what: Callable[[TRPO], None]):
        super().__init__()
        self.stage, self.what = stage, what

    def _do(self, stage: str) -> None:
        if stage == self.stage:
            self.what(self.model)  # type: ignore[arg-type]

    def _on_rollout_start(self) -> None:
        self._do("start")

    def _on_step(self) -> bool:
        self._do("step" if self.locals["n_steps"] == 4 else "")
        return True

    def _on_rollout_end(self) -> None:
        self._do("end")


def anneal(model: TRPO) -> None:
    model.policy.log_std.data -= 0.5


def noise_the_critic(model: TRPO) -> None:
    model.policy.value_net.weight.data += 0.01


def swap_actions(model: TRPO) -> None:
    actions = model.rollout_buffer.actions
    actions[:] = np.flip(actions, axis=0)


def warned(run: Callable[[], Any]) -> set[str]:
    """Names of the explanations that were given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    texts = [str(warning.message) for warning in caught]
    names = ("CHANGED_SINCE", "ROUNDING", "DISAGREEMENT")
    return {name for name in names if any(text.startswith(getattr(agreement, name)) for text in texts)}


@pytest.mark.parametrize("policy_kwargs", [{}, {"features_extractor_class": Own}], ids=["deferred", "stepwise"])
@pytest.mark.parametrize(
    ("stage", "what", "explanation"),
    [
        ("start", anneal, set()),
        ("end", anneal, {"CHANGED_SINCE"}),
        ("end", noise_the_critic, set()),
        ("end", swap_actions, {"DISAGREEMENT"}),
    ],
)
def test_what_a_callback_changes(stage: str, what: Any, explanation: set[str], policy_kwargs: dict[str, Any]) -> None:
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs=policy_kwargs, **SMALL)
    assert warned(lambda: model.learn(64, callback=At(stage, what))) == explanation


def test_a_change_within_a_rollout() -> None:
    """Where log-probabilities are computed at every step; where they are not, the rollout itself warns."""
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": Own}, **SMALL)
    assert warned(lambda: model.learn(32, callback=At("step", anneal))) == {"CHANGED_SINCE"}


def test_training_twice_from_a_rollout() -> None:
    model = TRPO("MlpPolicy", ToyEnv(), target_kl=0.05, **SMALL).learn(32)
    assert warned(model.train) == {"CHANGED_SINCE"}


@pytest.mark.parametrize(("log_std", "explanation"), [(-8.0, set()), (-20.0, {"ROUNDING"})])
def test_narrow_distributions(log_std: float, explanation: set[str]) -> None:
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"log_std_init": log_std}, **SMALL)
    assert warned(lambda: model.learn(32)) == explanation


@pytest.mark.parametrize("log_std", [0.0, -8.0])
def test_a_policy_that_acts_otherwise_than_it_says(log_std: float) -> None:
    model = TRPO(OtherForward, ToyEnv(), policy_kwargs={"log_std_init": log_std}, **SMALL)
    assert warned(lambda: model.learn(32)) == {"DISAGREEMENT"}


@pytest.mark.parametrize("log_std", [-3.0, -8.0, -14.0])
def test_the_rounding_error_is_that_of_log_probabilities(log_std: float) -> None:
    """Against double precision: root mean square of log N(a; μ, σ) − log N(a; μ', σ') over draws from N(μ, σ), to 2 %."""
    outputs = th.tensor([[0.3, -5.0, log_std, log_std]])
    actor: Any = SimpleNamespace(family=DiagonalGaussian())
    exact = outputs.numpy().astype(float)
    off = exact + np.finfo(np.float32).eps * np.maximum(1.0, np.abs(exact)) * np.linspace(-1.0, 1.0, 4)
    (mean, std), (other_mean, other_std) = ((values[0, :2], np.exp(values[0, 2:])) for values in (exact, off))
    draws = mean + std * np.random.default_rng(0).normal(size=(200_000, 2))
    log_prob, other = (
        (-0.5 * ((draws - m) / s) ** 2 - np.log(s)).sum(axis=1) for m, s in ((mean, std), (other_mean, other_std))
    )
    expected = math.sqrt(np.mean((log_prob - other) ** 2))
    assert agreement.rounding_error(actor, outputs) == pytest.approx(expected, rel=0.02)
