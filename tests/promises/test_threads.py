"""Several ``learn`` at the same time in threads of one process, as Optuna's ``n_jobs`` does, leave its globals alone."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn
from torch.distributions import Distribution

from sb3_trpo import TRPO
from sb3_trpo.policy import Actor
from sb3_trpo.sampling.vine import branches
from tests.toys import ToyEnv, parameters
from tests.vines import model

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "n_critic_updates": 1}


class Attention(nn.Module):
    latent_dim_pi = latent_dim_vf = 4

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return self.forward_actor(x), self.forward_critic(x)

    def forward_actor(self, x: th.Tensor) -> th.Tensor:
        return self.attention(x[:, None], x[:, None], x[:, None], need_weights=False)[0][:, 0]

    def forward_critic(self, x: th.Tensor) -> th.Tensor:
        return x


class Attentive(ActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Attention()


MODELS: dict[str, Callable[[], TRPO]] = {
    "mlp": lambda: TRPO("MlpPolicy", ToyEnv(), **SMALL),
    "gsde": lambda: TRPO("MlpPolicy", ToyEnv(), use_sde=True, **SMALL),
    "attention": lambda: TRPO(Attentive, ToyEnv(), **SMALL),
    "vine": lambda: model(ToyEnv()),
}


def _threads_of_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(th.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def _globals() -> dict[str, Any]:
    cuda = th.backends.cuda
    return {
        "checks of distributions": Distribution._validate_args,
        "kernels": (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
        "gradients": th.is_grad_enabled(),
        "threads": (th.get_num_threads(), _threads_of_a_new_thread()),
        "type": th.get_default_dtype(),
    }


@pytest.mark.parametrize("kind", list(MODELS))
def test_globals_are_as_before(kind: str) -> None:
    """The order of two threads' steps is chance: six times over."""
    threads_before = th.get_num_threads()
    th.set_num_threads(2)
    Distribution.set_default_validate_args(True)  # torch.compile turns it off for good
    try:
        before, seen = _globals(), []
        for _ in range(6):
            jobs = [threading.Thread(target=lambda: MODELS[kind]().learn(320)) for _ in range(2)]
            for job in jobs:
                job.start()
            while any(job.is_alive() for job in jobs):
                seen.append(Distribution._validate_args)
                jobs[0].join(0.002)
                jobs[1].join(0.002)
            assert _globals() == before
        assert all(seen)
    finally:
        Distribution.set_default_validate_args(True)
        th.set_num_threads(threads_before)


def test_threads_that_begin_while_branches_run_have_all_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches run on one processor, in their own thread."""
    seen, step = set(), branches._Runner.step

    def looking(runner: Any) -> None:
        seen.add((th.get_num_threads(), _threads_of_a_new_thread()))
        step(runner)

    monkeypatch.setattr(branches._Runner, "step", looking)
    before = th.get_num_threads()
    th.set_num_threads(2)
    try:
        MODELS["vine"]().learn(1)
        assert seen == {(1, 2)} and th.get_num_threads() == 2
    finally:
        th.set_num_threads(before)


@pytest.mark.parametrize("kind", ["mlp", "vine"])
def test_a_candidate_without_a_distribution_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like any other candidate that is not acceptable, with PyTorch's checks on."""
    trpo = MODELS[kind]().learn(32)
    before, at = parameters(trpo), Actor.at
    monkeypatch.setattr(Actor, "at", lambda actor, theta: at(actor, theta * float("nan")))
    trpo.train()
    assert trpo.last_update["train/status"] == "no acceptable candidate"
    assert th.equal(before["action_net.weight"], trpo.policy.action_net.weight) and Distribution._validate_args


def test_errors_of_a_policys_own_are_not_taken_for_such(monkeypatch: pytest.MonkeyPatch) -> None:
    trpo = MODELS["mlp"]().learn(32)
    at = Actor.at

    def broken(actor: Actor, theta: th.Tensor) -> Any:
        monkeypatch.setattr(trpo.policy, "get_distribution", lambda obs: int("not a number"))
        return at(actor, theta)

    monkeypatch.setattr(Actor, "at", broken)
    with pytest.raises(ValueError, match="invalid literal"):
        trpo.train()
