"""Ctrl-C at any line of this package: the policy is the one before an update or the one after it, and learning goes on."""

import sys
from copy import deepcopy
from types import FrameType
from typing import Any

import pytest
import torch as th

from sb3_trpo import TRPO
from sb3_trpo.policy import Actor
from tests.toys import ToyEnv
from tests.vines import model

SETTINGS: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "device": "cpu", "seed": 0, "n_critic_updates": 1}
FILES = (
    *("sb3_trpo/collection.py", "policy/actor.py", "update/objective.py", "update/step.py", "shallow_copies.py"),
    *("vine/branches.py", "critic/fit.py", "critic/mlp_regression.py", "sb3_trpo/trpo.py"),
    *("/contextlib.py", "torch/autograd/grad_mode.py", "torch/utils/_contextlib.py"),
)


class Interrupter:
    """Raises KeyboardInterrupt at the k-th instruction run in some files, once; counts them without a k."""

    def __init__(self, files: tuple[str, ...], at: int | None = None):
        self.files, self.at, self.count = files, at, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.endswith(self.files):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self

    def __enter__(self) -> "Interrupter":
        sys.settrace(self)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.settrace(None)


def _make(kind: str) -> TRPO:
    if kind == "vine":
        return model(ToyEnv(), n_steps=16, batch_size=16, n_critic_updates=1)
    return TRPO("MlpPolicy", ToyEnv(), use_sde=kind == "gsde", **SETTINGS)


def _state(trpo: TRPO) -> th.Tensor:
    """All parameters, and all that the optimizer keeps."""
    kept = [value for state in trpo.policy.optimizer.state_dict()["state"].values() for value in state.values()]
    return th.cat([value.detach().reshape(-1) for value in [*trpo.policy.parameters(), *kept]])


@pytest.mark.parametrize("kind", ["mlp", "gsde", "vine"])
def test_an_interruption_leaves_a_whole_policy(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At some hundred instructions spread over a rollout and an update, those of the context managers among them."""
    updated: list[th.Tensor] = []
    train = TRPO.train

    def noting(trpo: TRPO) -> None:
        train(trpo)
        updated.append(_state(trpo))

    monkeypatch.setattr(TRPO, "train", noting)
    trpo = _make(kind).learn(16)
    parameters = deepcopy(trpo.get_parameters())
    with Interrupter(FILES) as counter:
        trpo.learn(1, reset_num_timesteps=False)
    threads = th.get_num_threads()
    for at in range(1, counter.count, max(1, counter.count // 150)):
        trpo.set_parameters(deepcopy(parameters), device="cpu")
        start, storages = _state(trpo), [parameter.data_ptr() for parameter in trpo.policy.parameters()]
        updated.clear()
        try:
            with Interrupter(FILES, at):
                trpo.learn(1, reset_num_timesteps=False)
        except KeyboardInterrupt:  # while it is handled, its frames live, and with them what they hold
            assert th.is_grad_enabled(), at
            assert "step_wait" not in vars(trpo.env.unwrapped), at
            assert [parameter.data_ptr() for parameter in trpo.policy.parameters()] == storages, at
            assert any(th.equal(state, _state(trpo)) for state in [start, *updated]), at
            assert not trpo.policy.training, at
            assert th.get_num_threads() == threads, at
            if kind != "gsde":
                deepcopy(trpo.policy)
    trpo.learn(1, reset_num_timesteps=False)
    assert trpo.last_update["train/status"] == "ok"


def test_the_actor_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted at every single instruction of ``assign``, it has all of θ or nothing of it."""
    trpo = TRPO("MlpPolicy", ToyEnv(), **SETTINGS).learn(16)
    observations = th.as_tensor(trpo.rollout_buffer.observations).reshape(-1, 4)
    actor = Actor(trpo.policy, observations)
    before = actor.theta
    with Interrupter(("policy/actor.py",)) as counter:
        actor.assign(before + 1.0)
    for at in range(1, counter.count + 1):
        actor.assign(before)
        with Interrupter(("policy/actor.py",), at), pytest.raises(KeyboardInterrupt):
            actor.assign(before + 1.0)
        assert th.equal(actor.theta, before) or th.equal(actor.theta, before + 1.0), at
        th.set_grad_enabled(True)
