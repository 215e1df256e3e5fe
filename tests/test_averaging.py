"""The average of the policies acts, and nothing else is another: training, files, what other classes make of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sb3_contrib
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback

from sb3_trpo import TRPO, MaskableTRPO, RecurrentTRPO
from tests.masked import MaskedToy
from tests.recurrent import NETWORK
from tests.toys import ToyEnv, parameters, same, snapshot

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}
CRITIC = ("value_net", "mlp_extractor.value_net", "lstm_critic")
SHARE = 0.8

VARIANTS: dict[str, Any] = {
    "Gaussian": lambda **options: TRPO("MlpPolicy", ToyEnv(), **SMALL, **options),
    "gSDE": lambda **options: TRPO("MlpPolicy", ToyEnv(), use_sde=True, **SMALL, **options),
    "discrete": lambda **options: TRPO("MlpPolicy", ToyEnv(spaces.Discrete(4)), **SMALL, **options),
    "masked": lambda **options: MaskableTRPO("MlpPolicy", MaskedToy(spaces.Discrete(5)), **SMALL, **options),
    "recurrent": lambda **options: RecurrentTRPO("MlpLstmPolicy", ToyEnv(), policy_kwargs=NETWORK, **SMALL, **options),
}


class Trace(BaseCallback):
    """The parameters after every update; whoever acts by the average in between makes no difference."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, th.Tensor]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.found.append(parameters(self.model))
            self.model.predict(self.model._last_obs)

    def _on_training_end(self) -> None:
        self.found.append(parameters(self.model))


def expected(found: list[dict[str, th.Tensor]]) -> dict[str, np.ndarray]:
    """θ̄ of a list of policies, in double precision: Σ c^(n−i) θ_i, the first with its weight to the end; the last critic."""
    n = len(found)
    weights = np.array([SHARE ** (n - 1), *((1.0 - SHARE) * SHARE ** (n - 1 - i) for i in range(1, n))])
    assert np.isclose(weights.sum(), 1.0)
    return {
        name: found[-1][name].numpy()
        if name.startswith(CRITIC)
        else sum(w * theta[name].double().numpy() for w, theta in zip(weights, found, strict=True))
        for name in found[-1]
    }


@pytest.fixture(params=list(VARIANTS))
def trained(request: Any) -> Iterator[tuple[Any, list[dict[str, th.Tensor]], Any]]:
    """A model with averaging after five updates, its policies, and what makes such a model."""
    trace, make = Trace(), VARIANTS[request.param]
    yield make(averaging=SHARE).learn(5 * 32, callback=trace), trace.found, make


def test_the_average_is_the_weighted_mean_of_the_policies(trained: Any) -> None:
    """To the rounding of single precision."""
    model, found, _ = trained
    for name, value in expected(found).items():
        np.testing.assert_allclose(model.averaged_policy.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert not th.equal(model.averaged_policy.action_net.weight, model.policy.action_net.weight)


def test_training_is_the_same(trained: Any) -> None:
    """Bit for bit, and predicting in between changes nothing, either."""
    model, found, make = trained
    trace = Trace()
    plain = make().learn(5 * 32, callback=trace)
    assert all(same(one, other) for one, other in zip(found, trace.found, strict=True))
    assert plain.averaged_policy is plain.policy
    assert model.averaged_policy is not model.policy
    for each in (model, plain):
        each.set_random_seed(1)
        each.learn(64, reset_num_timesteps=False)
    assert same(parameters(model), parameters(plain))


def test_predict_acts_by_it(trained: Any) -> None:
    model, found, _ = trained
    observations = np.random.default_rng(0).uniform(-1.0, 1.0, (50, 4)).astype(np.float32)
    averaged = snapshot(model) if not isinstance(model, (MaskableTRPO, RecurrentTRPO)) else model.averaged_policy
    averaged.load_state_dict({name: th.as_tensor(value) for name, value in expected(found).items()})
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(actions, averaged.predict(observations, deterministic=True)[0], rtol=1e-4, atol=1e-5)
    if isinstance(model, MaskableTRPO):
        only = np.eye(5, dtype=bool)[np.arange(50) % 5]
        assert (model.predict(observations, action_masks=only)[0] == np.arange(50) % 5).all()
    elif model.use_sde:  # which takes the noise that the policy has now
        model.policy.reset_noise(50)
        noisy, again = (model.predict(observations)[0] for _ in range(2))
        model.policy.reset_noise(50)
        assert np.array_equal(noisy, again) and not np.array_equal(noisy, model.predict(observations)[0])


def test_files_have_it(trained: Any, tmp_path: Path) -> None:
    """And training goes on from them as it would have."""
    model, _, make = trained
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=make().env, device="cpu")
    assert same(model.averaged_policy.state_dict(), loaded.averaged_policy.state_dict())
    assert not same(loaded.averaged_policy.state_dict(), loaded.policy.state_dict())
    loaded.learn(32, reset_num_timesteps=False)
    mean = model._average["mean"] * SHARE + (1.0 - SHARE) * loaded._average["last"]
    assert th.allclose(loaded._average["mean"], mean, rtol=1e-5, atol=1e-6)


def test_sb3_contrib_reads_the_last_policy(tmp_path: Path) -> None:
    model = VARIANTS["Gaussian"](averaging=SHARE).learn(64)
    model.save(tmp_path / "model.zip")
    loaded = sb3_contrib.TRPO.load(tmp_path / "model.zip", device="cpu")
    assert same(parameters(model), parameters(loaded))


def test_parameters_that_were_changed_by_hand_act_at_once(trained: Any) -> None:
    """Their average begins with the update after."""
    model, _, make = trained
    other = make(averaging=SHARE)
    model.set_parameters(other.get_parameters())
    assert model.averaged_policy is model.policy
    trace = Trace()
    model.learn(64, callback=trace, reset_num_timesteps=False)
    for name, value in expected(trace.found[-2:]).items():
        np.testing.assert_allclose(model.averaged_policy.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_it_can_be_switched_off() -> None:
    model = VARIANTS["Gaussian"](averaging=SHARE).learn(64)
    model.averaging = 0.0
    model.learn(32, reset_num_timesteps=False)
    assert model.averaged_policy is model.policy


def test_an_update_that_fails_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy is the one before the update then, and so is the average."""
    model = VARIANTS["Gaussian"](averaging=SHARE).learn(96)
    before = {name: value.clone() for name, value in model.averaged_policy.state_dict().items()}

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sb3_trpo.trpo.fit_critic", fail)
    with pytest.raises(KeyboardInterrupt):
        model.learn(32, reset_num_timesteps=False)
    assert model.averaged_policy is not model.policy
    assert same(before, model.averaged_policy.state_dict())
