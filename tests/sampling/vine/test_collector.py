"""The vine with everything it is used with, and steps that are all counted."""

import copyreg
import os
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, ProgressBarCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.discrete import all_actions
from sb3_trpo.sampling.vine.replay_check import Trials
from sb3_trpo.simulators import CloneableEnv, restore_state
from tests.toys import DICT_OBSERVATIONS, ToyEnv, parameters, same
from tests.vines import ACTIONS, VINE, model


@pytest.mark.parametrize(
    ("actions", "branches"), [(name, count) for name in ACTIONS for count in (3, "all") if (name, count) != ("Box", "all")]
)
def test_every_action_space(actions, branches):
    env = ToyEnv(ACTIONS[actions], DICT_OBSERVATIONS)
    trpo = model(env, "MultiInputPolicy", vine_kwargs={**VINE, "branches_per_state": branches}, policy_kwargs=None)
    before = parameters(trpo)
    trpo.learn(1)
    assert not same(before, parameters(trpo))
    count = 3 if branches == 3 else len(all_actions(ACTIONS[actions]))
    steps_left = (10 - step % 10 for step, _ in trpo._experience.places)  # an episode has ten
    assert trpo.num_timesteps == 32 + count * sum(min(5, left) for left in steps_left)


def test_actions_in_rows_and_columns():
    """A Box of any shape: an MLP's fast actor and the policy itself both give flat actions, the environment gets its shape."""
    q_values = []
    for shape in ((6,), (3, 2)):
        trpo = model(ToyEnv(spaces.Box(-1.0, 1.0, shape))).learn(1)
        q_values.append(trpo._experience.q_values)
    assert th.equal(*q_values)


def test_a_branch_ends_where_the_episode_does():
    trpo = model(ToyEnv(), vine_kwargs={**VINE, "n_states": 32, "branch_length": 20})
    trpo.learn(1)
    # Episodes are cut after ten steps, and the n-th state of one leaves 10 - n: every state of 32 branches three times
    assert trpo.num_timesteps == 32 + 3 * (3 * sum(range(1, 11)) + sum((10, 9)))


@pytest.mark.parametrize("freq", [-1, 2])
@pytest.mark.parametrize("squash", [False, True])
def test_gsde(freq, squash):
    trpo = model(ToyEnv(), use_sde=True, sde_sample_freq=freq, policy_kwargs={"squash_output": squash})
    trpo.learn(64)
    assert all(th.isfinite(value).all() for value in trpo.policy.parameters())


def test_without_bootstrapping_and_with_monte_carlo_the_critic_plays_no_part():
    """The paper's form: another critic, the same step of the policy."""
    policies = []
    for shift in (0.0, 3.0):
        vine = {**VINE, "branch_length": 20, "bootstrap": False}
        trpo = model("Pendulum-v1", vine_kwargs=vine, advantage_estimator="monte_carlo", n_critic_updates=0)
        with th.no_grad():
            trpo.policy.value_net.bias += shift
        trpo.learn(1)
        policies.append({name: value for name, value in parameters(trpo).items() if name != "value_net.bias"})
    assert same(*policies)


def test_save_load_and_go_on(tmp_path):
    env = VecNormalize(make_vec_env("Pendulum-v1", 2, seed=0))
    trpo = model(env, n_steps=16)
    trpo.learn(100)
    trpo.save(tmp_path / "model")
    loaded = TRPO.load(tmp_path / "model")
    assert loaded.sampling == "vine" and loaded.vine_kwargs == VINE
    steps = trpo.num_timesteps
    loaded = TRPO.load(tmp_path / "model", env=env)
    loaded.learn(100, reset_num_timesteps=False)
    assert loaded.num_timesteps >= steps + 100


class Shuffling(RolloutBuffer):
    def get(self, batch_size: int | None = None) -> Any:
        yield from super().get(batch_size)


@pytest.mark.parametrize("buffer", [RolloutBuffer, Shuffling])
def test_actions_are_tried_where_the_states_were_saved(buffer):
    """The observation in the batch is the one that the saved state's environment last gave."""
    trpo = model(make_vec_env("Pendulum-v1", 3, seed=0), rollout_buffer_class=buffer)
    trpo.learn(1)
    vine, trunks = trpo._sampler, []
    choose = vine.trunk
    vine.trunk = lambda *arguments: trunks.append(choose(*arguments)) or trunks[-1]
    trpo.learn(1)
    env, batch = vine._here.envs[0], trpo._experience
    assert len({index for _, index in batch.places}) > 1
    for state, observation in zip(trunks[0].states, batch.observations, strict=True):
        restore_state(env, state.env)
        assert np.array_equal(env.unwrapped._get_obs(), observation.numpy())


def test_another_environment_gets_branches_of_its_own():
    trpo = model("Pendulum-v1")
    trpo.learn(1)
    trpo.set_env(gym.make("Pendulum-v1", g=3.0))
    trpo.learn(1)
    assert trpo._sampler._here.envs[5].unwrapped.g == 3.0


class Counting(gym.Wrapper):
    """Writes a byte for every step, whichever process takes it."""

    def __init__(self, env: gym.Env, path: str):
        super().__init__(env)
        self.path = path

    def step(self, action: Any) -> Any:
        with open(self.path, "ab") as file:
            file.write(b".")
        return self.env.step(action)


@pytest.mark.parametrize("kind", ["DummyVecEnv", "SubprocVecEnv", "workers"])
def test_every_simulator_step_is_counted(kind, tmp_path, monkeypatch):
    """But for branches that are taken again in another process, which teach nothing."""
    path = str(tmp_path / "steps")
    tried, check = [0], Trials.check

    def counting(trials: Trials, *arguments: Any) -> None:
        before = os.path.getsize(path)
        check(trials, *arguments)
        tried[0] += os.path.getsize(path) - before

    monkeypatch.setattr(Trials, "check", counting)

    def wrapped(env: gym.Env) -> gym.Env:
        return CloneableEnv(Counting(env, path)) if kind == "SubprocVecEnv" else Counting(env, path)

    processes = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}}
    env = make_vec_env("CartPole-v1", 3, seed=0, wrapper_class=wrapped, **(processes if kind == "SubprocVecEnv" else {}))
    trpo = model(env, vine_kwargs={**VINE, "n_workers": 2 * (kind == "workers")})
    try:
        trpo.learn(1)  # copies are made, and tried out, on the first
        counted, steps = os.path.getsize(path) - tried[0], trpo.num_timesteps
        trpo.learn(300, reset_num_timesteps=False)
        assert trpo.num_timesteps - steps == os.path.getsize(path) - tried[0] - counted > 300
        assert (tried[0] > 0) == (kind != "DummyVecEnv")
    finally:
        trpo.close_vine()
        env.close()


def test_the_budget_and_the_progress_bar_include_branches():
    trpo = model("Swimmer-v5", n_steps=128, vine_kwargs={"n_states": 16, "branches_per_state": 4, "branch_length": 10})
    bar = ProgressBarCallback()

    class Look(BaseCallback):
        calls = shown = 0

        def _on_step(self) -> bool:
            self.calls += 1
            return True

        def _on_training_end(self) -> None:
            self.shown = bar.pbar.n

    look = Look()
    trpo.learn(1, callback=[look, bar])
    assert trpo.num_timesteps == look.shown == 768
    assert look.calls == 128


def test_what_is_logged():
    trpo = model("Pendulum-v1")
    logged: dict[str, Any] = {}

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            logged.update(self.logger.name_to_value)

    trpo.learn(1, callback=Look())
    assert logged["rollout/branch_count"] == 18
    assert logged["rollout/branch_length_mean"] == 5.0
    assert logged["rollout/branch_termination_rate"] == 0.0
    assert logged["rollout/branch_value_std"] > 0.0 and logged["rollout/branch_fps"] > 0.0


def noise_of(trpo: TRPO) -> tuple[list[Any], np.ndarray]:
    """Where the last iteration branched, and the returns."""
    return trpo._experience.places, trpo._experience.q_values.numpy()


def test_no_iteration_repeats_anothers_random_numbers():
    """However often ``learn`` begins to count anew: other states, of ten draws from 32."""
    trpo = model("Pendulum-v1")
    places = [tuple(noise_of(trpo.learn(1))[0]) for _ in range(3)]
    assert len(set(places)) == 3


def test_the_models_seed_is_the_vines():
    """``set_random_seed`` and the constructor's seed: the same states, the same returns."""
    first, second = model("Pendulum-v1", seed=5), model("Pendulum-v1", seed=4)
    second.policy.load_state_dict(first.policy.state_dict())
    second.set_random_seed(5)
    th.manual_seed(7)
    first.learn(1)
    th.manual_seed(7)
    second.learn(1)
    assert noise_of(first)[0] == noise_of(second)[0]
    assert np.array_equal(noise_of(first)[1], noise_of(second)[1])


def test_options_may_change():
    trpo = model("Pendulum-v1").learn(1)
    trpo.vine_kwargs = {**VINE, "n_states": 3}
    trpo.learn(1, reset_num_timesteps=False)
    assert trpo.num_timesteps == 2 * 32 + (6 + 3) * 3 * 5


def test_environments_that_offer_their_state_need_not():
    """CloneableEnv, which other processes need, does no harm in this one."""
    trpo = model(make_vec_env("Pendulum-v1", 2, seed=0, wrapper_class=CloneableEnv), n_steps=16).learn(1)
    assert trpo.num_timesteps == 32 + 6 * 3 * 5


class Keeping(gym.Wrapper):
    """Keeps the action that it was given, as it is, and afterwards writes into it."""

    def step(self, action):
        result = self.env.step(np.copy(action))
        self.previous, self.last = vars(self).get("last"), action
        if isinstance(action, np.ndarray):
            action += 1
        return result


@pytest.mark.parametrize(
    ("actions", "settings"),
    [
        *((name, {}) for name in ACTIONS),
        ("Box", {"use_sde": True}),
        ("Box", {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    ],
)
def test_environments_may_keep_their_actions_and_write_into_them(actions, settings):
    """These own their memory: they can be saved with the state, and the rollout buffer has what the policy drew."""
    makers = [lambda: Keeping(ToyEnv(ACTIONS[actions]))] * 2
    trpo = model(DummyVecEnv(makers), **settings).learn(64)
    twin = model(DummyVecEnv([lambda: ToyEnv(ACTIONS[actions])] * 2), **settings).learn(64)
    np.testing.assert_array_equal(trpo.rollout_buffer.actions, twin.rollout_buffer.actions)
    np.testing.assert_array_equal(trpo.rollout_buffer.rewards, twin.rollout_buffer.rewards)
    assert trpo.last_update["train/kl_max"] == twin.last_update["train/kl_max"]


class Halved(gym.Wrapper):
    """Pickled, it loses what its step needs."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.table = np.ones(2)

    def __reduce__(self) -> Any:
        return copyreg.__newobj__, (Halved,), {**vars(self), "table": None}

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, reward * self.table[0], *rest


def test_a_copy_that_fails_is_not_the_environments_fault():
    """Environments of other processes are copied by pickle."""
    env = SubprocVecEnv([lambda: CloneableEnv(Halved(ToyEnv()))], start_method="fork")
    try:
        with pytest.raises(ValueError, match=r"cannot be copied.*TypeError: 'NoneType' object is not subscriptable"):
            model(env).learn(1)
    finally:
        env.close()
