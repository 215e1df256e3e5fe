"""RecurrentTRPO: rollouts beside a plain loop with sb3-contrib's own methods, and what its users expect."""

from copy import copy, deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize
from torch.distributions import kl_divergence

from sb3_trpo import RecurrentTRPO
from tests.ranks import on_ranks
from tests.recurrent import NETWORK, SMALL
from tests.toys import BOX_ACTIONS, DICT_OBSERVATIONS, Reader, ToyEnv, parameters, same

OPTIONS: dict[str, dict[str, Any]] = {
    "separate": {},
    "shared": {"shared_lstm": True, "enable_critic_lstm": False},
    "none": {"enable_critic_lstm": False},
    "two layers": {"n_lstm_layers": 2, "lstm_kwargs": {"dropout": 0.3}},
}


class Uneven(ToyEnv):
    """Episodes of random lengths, ended by a time limit or before it; the reward is what was seen two steps ago."""

    def step(self, action: Any) -> Any:
        obs, reward, _, _, info = super().step(action)
        terminated, truncated = self.np_random.random(2) < 0.12
        return obs, reward, bool(terminated), bool(truncated and not terminated), info


def make(n_envs: int = 2, **kwargs: Any) -> Any:
    return make_vec_env(lambda: Uneven(**kwargs), n_envs, seed=3)


def model_of(env: Any = None, options: str = "separate", policy: str = "MlpLstmPolicy", **kwargs: Any) -> RecurrentTRPO:
    settings = {**SMALL, "policy_kwargs": {**NETWORK, **OPTIONS[options]}, **kwargs}
    return RecurrentTRPO(policy, make() if env is None else env, **settings)


class PlainLoop(BaseCallback):
    """sb3-contrib's ``forward`` at every step, from zeros, through all rollouts; then its GAE."""

    def _on_training_start(self) -> None:
        lstm = self.model.policy.lstm_actor
        zeros = th.zeros(lstm.num_layers, self.training_env.num_envs, lstm.hidden_size)
        self.states = RNNStates((zeros, zeros), (zeros, zeros))
        self.compared = self.bootstrapped = 0

    def _on_rollout_start(self) -> None:
        self.values, self.log_probs, self.rewards, self.distributions = [], [], [], []

    def _on_step(self) -> bool:
        model, seen = self.model, self.locals
        policy = model.policy
        starts = th.as_tensor(model._last_episode_starts, dtype=th.float32)
        obs = th.as_tensor(seen["obs"])
        with th.no_grad(), th.random.fork_rng():
            distribution, _ = policy.get_distribution(obs, self.states.pi, starts)
            self.log_probs.append(distribution.log_prob(th.as_tensor(seen["actions"])))
            _, values, _, self.states = policy(obs, self.states, starts)
            rewards = seen["rewards"].copy()
            for index in np.flatnonzero(seen["dones"]):
                info = seen["infos"][index]
                if info["TimeLimit.truncated"]:
                    reached = tuple(part[:, index : index + 1].contiguous() for part in self.states.vf)
                    terminal = th.as_tensor(info["terminal_observation"])[None]
                    rewards[index] += model.gamma * policy.predict_values(terminal, reached, th.zeros(1)).item()
                    self.bootstrapped += 1
        self.values.append(values.flatten())
        self.rewards.append(rewards)
        return True

    def _on_rollout_end(self) -> None:
        model, policy = self.model, self.model.policy
        buffer = model.rollout_buffer
        for found, expected in ((buffer.values, th.stack(self.values)), (buffer.log_probs, th.stack(self.log_probs)),
                                (buffer.rewards, np.stack(self.rewards))):  # fmt: skip
            assert np.allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-5)
        plain = deepcopy(buffer)
        plain.__class__ = RolloutBuffer
        plain.values, plain.rewards = np.stack([v.numpy() for v in self.values]), np.stack(self.rewards)
        dones = model._last_episode_starts
        with th.no_grad():
            last = policy.predict_values(th.as_tensor(model._last_obs), self.states.vf, th.as_tensor(dones, dtype=th.float32))
        plain.compute_returns_and_advantage(last, dones)
        assert np.allclose(buffer.advantages, plain.advantages, rtol=1e-3, atol=1e-4)
        self.compared += 1


@pytest.mark.parametrize("options", list(OPTIONS))
def test_rollouts_are_those_of_a_plain_loop(options: str) -> None:
    """Values, log-probabilities, time limits' bootstraps and advantages of four rollouts, with updates between them."""
    loop = PlainLoop()
    model = model_of(options=options).learn(4 * 64, callback=loop)
    assert loop.compared == 4 and loop.bootstrapped > 5 and model._n_updates == 4


class Outside(BaseCallback):
    """The KL divergence of every update, by a loop over single steps from the states that the rollout began with."""

    def _on_training_start(self) -> None:
        lstm = self.model.policy.lstm_actor
        zeros = th.zeros(lstm.num_layers, self.training_env.num_envs, lstm.hidden_size)
        self.state = (zeros, zeros)
        self.kl: list[float] = []
        self.before: Any = None

    def _run(self) -> tuple[list[Any], Any]:
        state, distributions = self.begin, []
        for obs, starts in zip(self.obs, self.starts, strict=True):
            with th.no_grad():
                distribution, state = self.model.policy.get_distribution(obs, state, starts)
            inner = copy(distribution.distribution)
            distributions.append(inner)
        return distributions, state

    def _measure(self) -> None:
        if self.before is not None:
            pairs = zip(self.before, self._run()[0], strict=True)
            divergences = [kl_divergence(p, q) for p, q in pairs]
            self.kl.append(float(th.stack([d if d.ndim == 1 else d.sum(dim=1) for d in divergences]).mean()))

    def _on_rollout_start(self) -> None:
        self._measure()
        self.begin, self.obs, self.starts = self.state, [], []

    def _on_step(self) -> bool:
        self.obs.append(th.as_tensor(self.locals["obs"]).clone())
        self.starts.append(th.as_tensor(self.model._last_episode_starts, dtype=th.float32))
        return True

    def _on_rollout_end(self) -> None:
        self.before, self.state = self._run()

    def _on_training_end(self) -> None:
        self._measure()


@pytest.mark.parametrize(("options", "space"), [*((name, spaces.Discrete(4)) for name in OPTIONS), ("separate", BOX_ACTIONS)])
def test_ten_updates_keep_the_bound(options: str, space: Any) -> None:
    outside = Outside()
    model_of(make(action_space=space), options, n_critic_updates=2).learn(10 * 64, callback=outside)
    assert len(outside.kl) == 10 and max(outside.kl) <= 0.01001
    assert sum(kl > 0.002 for kl in outside.kl) >= 8


class Cue(gym.Env):
    """The first observation says which action is right in the last step, three steps later."""

    observation_space, action_space = spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.cue, self.time = int(self.np_random.integers(2)), 0
        return np.array([1.0, 2.0 * self.cue - 1.0], dtype=np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        over = self.time == 4
        return np.zeros(2, dtype=np.float32), float(over and action == self.cue), over, False, {}


def test_a_cue_is_remembered() -> None:
    """Without a memory a half is the most that is possible."""
    model = model_of(make_vec_env(Cue, 8), n_steps=64, batch_size=128, learning_rate=3e-3, target_kl=0.03)
    model.learn(8_000)
    mean, _ = evaluate_policy(model, make_vec_env(Cue, 4, seed=9), 100)
    assert mean > 0.98


def test_a_callback_may_read_the_buffer() -> None:
    found = [parameters(model_of(n_critic_updates=0).learn(64, callback=callback)) for callback in (None, Reader())]
    assert all(th.allclose(found[0][name], found[1][name], atol=1e-4) for name in found[0])


def test_seeds_reproduce() -> None:
    first, second = (model_of(seed=4).learn(128) for _ in range(2))
    assert same(parameters(first), parameters(second))


@pytest.mark.parametrize(
    ("policy", "env", "kwargs"),
    [
        ("MultiInputLstmPolicy", {"observation_space": DICT_OBSERVATIONS}, {}),
        ("MlpLstmPolicy", {}, {"use_sde": True, "sde_sample_freq": 4}),
        ("MlpLstmPolicy", {"action_space": spaces.MultiDiscrete([2, 3])}, {"ent_coef": 0.01}),
        ("MlpLstmPolicy", {"action_space": spaces.MultiBinary(3)}, {"advantage_estimator": "monte_carlo"}),
        ("MlpLstmPolicy", {}, {"fisher_sample_fraction": 0.3}),
        ("MlpLstmPolicy", {}, {"sub_sampling_factor": 2}),
    ],
    ids=["dict and images", "gsde", "entropy", "monte carlo", "share of the Fisher matrix", "share of the rollout"],
)
def test_what_trpo_has(policy: str, env: dict[str, Any], kwargs: dict[str, Any]) -> None:
    model = model_of(VecNormalize(make(**env), norm_obs="observation_space" not in env), policy=policy, **kwargs)
    before = parameters(model)
    model.learn(128)
    assert model._n_updates == 2 and model.logger.name_to_value["train/kl_max"] >= 0.0
    moved = {name for name, value in parameters(model).items() if not th.equal(value, before[name])}
    assert {"lstm_actor.weight_hh_l0", "lstm_critic.weight_hh_l0", "value_net.weight"} <= moved


def test_stacked_frames_are_kept_once() -> None:
    from stable_baselines3.common.vec_env import VecFrameStack

    class Pictures(Uneven):
        def _observe(self) -> Any:
            super()._observe()
            return self.np_random.integers(0, 256, (36, 36, 1), dtype=np.uint8)

    pixels = spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)
    env = VecFrameStack(make_vec_env(lambda: Pictures(observation_space=pixels), 2), 2)
    model = model_of(env, policy="CnnLstmPolicy", n_steps=8, batch_size=16).learn(32)
    assert type(model.rollout_buffer).__name__ == "FrameStackBuffer" and model._n_updates == 2


def test_an_episode_goes_on_over_calls_of_learn() -> None:
    """The LSTM's states, too: two calls are one, but for the reset that none of them makes."""
    whole = model_of().learn(128)
    parts = model_of().learn(64)
    parts.learn(64, reset_num_timesteps=False)
    assert same(parameters(whole), parameters(parts))


def test_save_load_predict_and_go_on(tmp_path: Any) -> None:
    model = model_of().learn(64)
    model.save(tmp_path / "model")
    other = RecurrentTRPO.load(tmp_path / "model", make(), device="cpu")
    obs = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    for starts in (np.ones(2), np.zeros(2)):
        first, state = model.predict(obs, None, starts, deterministic=True)
        second, again = other.predict(obs, None, starts, deterministic=True)
        assert np.array_equal(first, second) and np.array_equal(state[0], again[0])  # type: ignore[index]
    moved, _ = model.predict(obs, state, np.zeros(2), deterministic=True)
    assert not np.array_equal(moved, first)
    assert other.learn(64, reset_num_timesteps=False).num_timesteps == 128
    assert np.isfinite(evaluate_policy(other, make(), 4)[0])


def test_weights_go_both_ways_with_recurrent_ppo(tmp_path: Any) -> None:
    ppo = RecurrentPPO("MlpLstmPolicy", make(), n_steps=32, batch_size=32, policy_kwargs=NETWORK, device="cpu").learn(64)
    ppo.save(tmp_path / "ppo")
    ours = model_of()
    ours.set_parameters(tmp_path / "ppo", device="cpu")
    assert same(parameters(ppo), parameters(ours))
    ours.learn(64).save(tmp_path / "ours")
    loaded = RecurrentPPO.load(tmp_path / "ours", make(), device="cpu")
    assert same(parameters(loaded), parameters(ours))
    assert loaded.learn(64).num_timesteps == 64


@pytest.mark.parametrize("fault", [("observation", float("nan")), ("reward", float("inf"))])
def test_what_is_not_finite_leaves_the_networks_alone(fault: Any) -> None:
    model = model_of(make_vec_env(lambda: Uneven(faults={7: fault}), 1))
    before = parameters(model)
    with pytest.warns(RuntimeWarning, match="at step"):
        model.learn(32)
    assert same(before, parameters(model))
    model.learn(64, reset_num_timesteps=False)
    assert not same(before, parameters(model)) and model.last_update["train/status"] == "ok"


class Overriding(RecurrentActorCriticPolicy):
    def get_distribution(self, *args: Any) -> Any:
        return super().get_distribution(*args)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sampling": "vine"}, "RecurrentTRPO has no vine"),
        ({"policy": "MlpPolicy"}, "MlpPolicy"),
        ({"policy": Overriding}, "Overriding overrides get_distribution"),
        ({"policy_kwargs": {"lstm_kwargs": {"bidirectional": True}}}, "lstm_actor is LSTM.*bidirectional=True"),
        ({"policy_kwargs": {"lstm_kwargs": {"batch_first": True}}}, "lstm_actor is LSTM.*batch_first=True"),
        ({"rollout_buffer_class": type("Own", (RolloutBuffer,), {"add": lambda *_: None})}, "rollout_buffer_class=Own"),
    ],
)
def test_what_cannot_be_is_refused_at_construction(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RecurrentTRPO(**{"policy": "MlpLstmPolicy", "env": Uneven(), **SMALL, **arguments})


def test_a_callback_that_stops_leaves_a_model_that_goes_on() -> None:
    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 40

    model = model_of()
    model.learn(128, callback=CallbackList([Stop()]))
    assert model._n_updates == 1
    assert model.learn(64, reset_num_timesteps=False)._n_updates == 2


@pytest.mark.parametrize("options", OPTIONS)
def test_after_a_stop_the_memory_is_that_of_the_recorded_steps(options: str) -> None:
    """As after a rollout of so many steps, bit for bit; the step at which a callback stops is not recorded."""

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 20

    stopped, whole = model_of(options=options), model_of(options=options, n_steps=19)
    stopped.learn(64, callback=Stop())
    whole.learn(2 * 19)
    assert stopped.rollout_buffer.pos == 19
    for first, second in zip(stopped._memory, whole._memory, strict=True):
        assert all(map(th.equal, first, second))


def test_the_critics_parameters_are_found_without_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its LSTM refuses to be differentiated in eval mode."""
    model, found = model_of(), []

    def note(lstm: th.nn.Module, *_: Any) -> None:
        if th.is_grad_enabled() and not lstm.training:
            found.append(th.backends.cudnn.enabled)

    model.policy.lstm_critic.register_forward_hook(note)  # type: ignore[union-attr, operator]
    model.learn(64)
    assert found and not any(found)


@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", OPTIONS)
def test_cuda(options: str) -> None:
    model = model_of(options=options, device="cuda").learn(128)
    assert model.last_update["train/status"] == model.last_update["train/critic_status"] == "ok"


def two_ranks() -> Any:
    model = model_of(make(2), n_steps=64, n_critic_updates=2).learn(2 * 256)
    return parameters(model), model._n_updates


def test_ranks_stay_equal_bit_for_bit() -> None:
    results = on_ranks(two_ranks)
    assert all(isinstance(result, tuple) for result in results), results
    (first, updates), (second, _) = results
    assert updates == 2 and same(first, second)
