"""What users add from outside: an action distribution, a way to sample, a simulator. Each needs one registration, or none."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.distributions import Laplace, kl_divergence

from sb3_trpo import TRPO, policy, sampling
from sb3_trpo.simulators import check_clone
from tests.toys import ToyEnv

SMALL: dict[str, Any] = {"n_steps": 128, "batch_size": 64, "seed": 0, "device": "cpu"}


class LaplaceFamily:
    """φ = (location, log b)."""

    def kl_divergence(self, old: th.Tensor, new: th.Tensor) -> th.Tensor:
        (mean, log_b), (new_mean, new_log_b) = old.chunk(2, dim=1), new.chunk(2, dim=1)
        shift, ratio = (mean - new_mean).abs(), (log_b - new_log_b).exp()
        return (new_log_b - log_b + shift / new_log_b.exp() + ratio * th.exp(-shift / log_b.exp()) - 1.0).sum(dim=1)

    def fisher(self, parameters: th.Tensor) -> Any:
        log_b = parameters.chunk(2, dim=1)[1]
        diagonal = th.cat([th.exp(-2.0 * log_b), th.ones_like(log_b)], dim=1)
        return lambda vector: diagonal * vector


class LaplaceAdapter:
    def __init__(self, distribution: Any):
        self.family, self.shape = LaplaceFamily(), tuple(distribution.distribution.loc.shape[1:])

    def parameters(self, distribution: Any) -> th.Tensor:
        return th.cat([distribution.distribution.loc, distribution.distribution.scale.log()], dim=1)

    def noise(self, leading: Any, generator: Any = None) -> th.Tensor:
        return th.empty((*leading, *self.shape)).uniform_(0.01, 0.99, generator=generator)

    def act(self, distribution: Any, noise: th.Tensor, log_std: Any) -> th.Tensor:
        return distribution.distribution.icdf(noise)


class LaplaceDistribution(DiagGaussianDistribution):
    def proba_distribution(self, mean_actions: th.Tensor, log_std: th.Tensor) -> "LaplaceDistribution":
        self.distribution = Laplace(mean_actions, th.ones_like(mean_actions) * log_std.exp())
        return self


class LaplacePolicy(ActorCriticPolicy):
    def _build(self, lr_schedule: Any) -> None:
        self.action_dist = LaplaceDistribution(self.action_space.shape[0])  # type: ignore[index]
        super()._build(lr_schedule)


policy.register_distribution(LaplaceDistribution, LaplaceAdapter)


@pytest.mark.parametrize("how", ["single_path", "vine"])
def test_a_distribution(how: str) -> None:
    """One family and one adapter: the trust region is kept, by PyTorch's own divergence, and the vine branches with it."""
    model = TRPO(LaplacePolicy, ToyEnv(), sampling=how, **SMALL)
    old: list[Any] = []

    def keep(locals_: dict[str, Any], _: Any) -> bool:
        with th.no_grad():
            old[:] = [model.policy.get_distribution(th.as_tensor(locals_["obs"])).distribution]
        return True

    model.learn(128, callback=keep)
    obs = th.as_tensor(model.rollout_buffer.observations).flatten(0, 1)[-1:]
    with th.no_grad():
        new = model.policy.get_distribution(obs).distribution
    assert model.last_update["train/status"] == "ok"
    assert 0.0 < model.logger.name_to_value["train/kl_divergence_loss"] <= model.target_kl
    assert 0.0 < float(kl_divergence(old[0], new).sum()) < 10.0 * model.target_kl


@dataclass(frozen=True)
class BetterHalf:
    """Learns from the better half of the actions alone; as a sampler, its own rollout, experience and surrogate."""

    better: th.Tensor | None = None
    steps: int = 0
    branch_advantages: None = None
    diagnostics: dict[str, float] = field(default_factory=dict)

    def begin(self, *_: Any) -> "BetterHalf":
        return self

    def watch(self, path: Iterator[Any]) -> Iterator[Any]:
        return path

    def experience(self, policy: Any, buffer: Any) -> "BetterHalf":
        advantages = th.as_tensor(buffer.advantages).flatten()
        return BetterHalf(
            advantages > advantages.median(), diagnostics={"rollout/median_advantage": float(advantages.median())}
        )

    def surrogate(self, batch: Any, normalize: bool, ranks: Any) -> "BetterHalf":
        return self

    def path_terms(self, rows: slice, ratio: th.Tensor) -> th.Tensor:
        return (ratio * self.better[rows]).sum()  # type: ignore[index]

    def branch_terms(self, actor: Any) -> Iterator[th.Tensor]:
        return iter(())

    def find_defect(self) -> None:
        return None

    def close(self) -> None:
        pass


class Keeping(BaseCallback):
    found: ClassVar[list[set[str]]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.found.append(set(self.logger.name_to_value))


def test_a_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """One registration: ``sampling`` takes its name, its surrogate is what improves, its figures are logged."""
    monkeypatch.setitem(sampling.SAMPLERS, "better half", None)  # taken out again after this test
    sampling.register_sampler("better half", lambda *_: BetterHalf())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = TRPO("MlpPolicy", ToyEnv(), sampling="better half", **SMALL).learn(256, callback=Keeping())
    logged = model.logger.name_to_value
    assert model.last_update["train/status"] == "ok" and logged["train/kl_divergence_loss"] <= model.target_kl
    assert all("rollout/median_advantage" in names for names in Keeping.found) and len(Keeping.found) == 2
    assert logged["train/policy_objective"] == pytest.approx(0.5 + logged["train/actual_improvement"], abs=1e-3)


@pytest.mark.parametrize(
    "register, named",
    [
        (lambda: sampling.register_sampler(3, BetterHalf), "name=3 is of type int"),  # type: ignore[arg-type]
        (lambda: sampling.register_sampler("half", "BetterHalf"), "factory='BetterHalf' is of type str"),  # type: ignore[arg-type]
        (lambda: policy.register_extractor("MyExtractor"), "kind='MyExtractor'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_registered(register: Callable[[], None], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        register()


ENGINE: dict[int, np.ndarray] = {}  # a simulator in another language, known by handles


class HandleEnv(gym.Env):
    """Holds nothing but the handle of a state elsewhere, and says itself how to save and restore it."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.handle = len(ENGINE)
        ENGINE[self.handle] = np.zeros(2, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        ENGINE[self.handle][:] = self.np_random.normal(size=2)
        return ENGINE[self.handle].copy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        ENGINE[self.handle] += 0.1 * (2 * action - 1) + self.np_random.normal(size=2, scale=0.01)
        state = ENGINE[self.handle]
        return state.copy(), -float(state @ state), bool((np.abs(state) > 3.0).any()), False, {}

    def clone_state(self) -> Any:
        return ENGINE[self.handle].copy(), self.np_random.bit_generator.state

    def restore_state(self, token: Any) -> None:
        ENGINE[self.handle][:], self.np_random.bit_generator.state = token

    def __reduce__(self) -> Any:  # another instance has another handle
        return HandleEnv, ()


def test_a_simulator() -> None:
    """Its two methods are enough: states are exact in other instances, and the vine branches in it."""
    assert check_clone(HandleEnv(), HandleEnv(), n_steps=50).exact
    model = TRPO("MlpPolicy", HandleEnv(), sampling="vine", vine_kwargs={"n_states": 4, "branch_length": 5}, **SMALL).learn(
        128
    )
    assert model.last_update["train/status"] == "ok"
