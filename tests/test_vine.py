"""The vine: branches that are comparable, a trunk that does not notice them, and steps that are all counted."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, ProgressBarCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.rollouts import Vine, VineSettings
from sb3_trpo.rollouts.row_states import clone_rows
from sb3_trpo.rollouts.vine.branches import Branch, BranchRules, run_branches
from sb3_trpo.rollouts.vine.envs import BranchEnvs, WrapperStages
from sb3_trpo.rollouts.vine.noise import actions_from_noise, draw_noise, make_actor
from sb3_trpo.rollouts.vine.settings import all_actions
from sb3_trpo.simulators import CannotCloneError, CloneableEnv, copy_env, restore_state
from tests.toys import DICT_OBSERVATIONS, ToyEnv, parameters, same

gym.register_envs(ale_py)

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "seed": 0, "policy_kwargs": {"net_arch": [16]}}
VINE = {"n_states": 6, "branches_per_state": 3, "branch_length": 5}

ACTIONS = {
    "Box": spaces.Box(-1.0, 1.0, (3,)),
    "Discrete": spaces.Discrete(4),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary(3),
}


def model(env: Any, policy: str = "MlpPolicy", **settings: Any) -> TRPO:
    return TRPO(policy, env, **{**SMALL, "sampling": "vine", "vine_kwargs": VINE, **settings})


# Everything it is used with


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
    steps_left = (10 - step % 10 for step, _ in trpo._vine_batch.places)  # an episode has ten
    assert trpo.num_timesteps == 32 + count * sum(min(5, left) for left in steps_left)


def test_actions_in_rows_and_columns():
    """A Box of any shape: an MLP's fast actor and the policy itself both give flat actions, the environment gets its shape."""
    q_values = []
    for shape in ((6,), (3, 2)):
        trpo = model(ToyEnv(spaces.Box(-1.0, 1.0, shape))).learn(1)
        q_values.append(trpo._vine_batch.q_values)
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
    vine, trunks = trpo._vine, []
    choose = vine.trunk
    vine.trunk = lambda *arguments: trunks.append(choose(*arguments)) or trunks[-1]
    trpo.learn(1)
    env, batch = vine._here.envs[0], trpo._vine_batch
    assert len({index for _, index in batch.places}) > 1
    for state, observation in zip(trunks[0].states, batch.observations, strict=True):
        restore_state(env, state.env)
        assert np.array_equal(env.unwrapped._get_obs(), observation.numpy())


def test_another_environment_gets_branches_of_its_own():
    trpo = model("Pendulum-v1")
    trpo.learn(1)
    trpo.set_env(gym.make("Pendulum-v1", g=3.0))
    trpo.learn(1)
    assert trpo._vine._here.envs[5].unwrapped.g == 3.0


# Equal branches, equal returns


def branch_envs(env: VecEnv, rows: int = 32) -> BranchEnvs:
    return BranchEnvs([copy_env(env.unwrapped.envs[0]) for _ in range(rows)], WrapperStages(env, rows))


def pong(n_envs: int, sticky: float = 0.25) -> VecEnv:
    settings = {
        "env_kwargs": {"frameskip": 1, "repeat_action_probability": 0.0},
        "wrapper_kwargs": {"action_repeat_probability": sticky},
    }
    return VecFrameStack(make_vec_env("ALE/Pong-v5", n_envs, seed=3, wrapper_class=AtariWrapper, **settings), 4)


BRANCHED = {
    "Hopper": (lambda: VecNormalize(make_vec_env("Hopper-v5", 1, seed=0)), "MlpPolicy", {}),
    "Hopper, gSDE": (lambda: make_vec_env("Hopper-v5", 1, seed=0), "MlpPolicy", {"use_sde": True}),
    "FrozenLake": (lambda: make_vec_env("FrozenLake-v1", 1, seed=0), "MlpPolicy", {}),
    "Pong": (lambda: pong(1), "CnnPolicy", {"policy_kwargs": None}),
}


@pytest.mark.parametrize("case", list(BRANCHED))
def test_equal_actions_give_bit_equal_branches_wherever_they_run(case):
    make, policy, settings = BRANCHED[case]
    trpo = model(make(), policy, **settings)
    trpo.learn(1)
    env, rng = trpo.env, np.random.default_rng(0)
    trpo.policy.set_training_mode(False)
    env.reset()
    states = []
    for _ in range(5):
        states += clone_rows(env)
        env.step(np.array([env.action_space.sample()]))
    noise = [draw_noise(trpo.policy, rng, (5,)) for _ in states]
    first = [np.array(trpo.action_space.sample()) for _ in states]
    order = rng.permutation(np.repeat(np.arange(5), 20))
    envs = branch_envs(env)
    branches = [Branch(states[n], first[n], noise[n]) for n in order]
    rules = BranchRules(length=6, gamma=0.9, bootstrap=True, hold=1)
    returns = run_branches(trpo.policy, envs, branches, rules).returns
    for n in range(5):
        assert len(set(returns[order == n])) == 1
    assert len(set(returns)) > 1
    alone = run_branches(trpo.policy, envs, [branches[7]], rules).returns
    assert alone[0] == returns[7]


def test_returns_are_those_of_the_environment_itself():
    """Rolled out by hand: rewards discounted, the critic's value where the branch was cut, nothing after termination."""
    trpo = model(make_vec_env("CartPole-v1", 1, seed=0))
    trpo.learn(1)
    env, policy = trpo.env, trpo.policy
    policy.set_training_mode(False)
    env.reset()
    (state,) = clone_rows(env)
    noise = draw_noise(policy, np.random.default_rng(1), (29,))
    for length in (3, 30):
        branches = [Branch(state, np.array(action), noise) for action in (0, 1)]
        rules = BranchRules(length=length, gamma=0.9, bootstrap=True, hold=1)
        outcomes = run_branches(policy, branch_envs(env), branches, rules)
        for action in (0, 1):
            inner = copy_env(env.unwrapped.envs[0])
            chosen, expected, terminated = action, 0.0, False
            for step in range(length):
                obs, reward, terminated, _, _ = inner.step(chosen)
                expected += 0.9**step * reward
                if terminated:
                    break
                tensor = th.as_tensor(obs[None])
                chosen = int(actions_from_noise(policy, tensor, noise[step][None])[0]) if step < length - 1 else 0
            if not terminated:
                expected += 0.9**length * float(policy.predict_values(tensor))
            assert outcomes.returns[action] == pytest.approx(expected, rel=1e-6)
            assert outcomes.lengths[action] == step + 1 and outcomes.terminated[action] == terminated


@pytest.mark.parametrize("space", [spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(4)], ids=["Gaussian", "categorical"])
def test_the_fast_actor_does_what_the_policy_does(space, monkeypatch):
    """Without the fast actor's help: the policy's own mean + σ ε, and the category that its own probabilities give at u."""
    policy = TRPO("MlpPolicy", ToyEnv(space), **SMALL).policy
    th.nn.init.normal_(policy.action_net.weight)
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(32, 4)).astype(np.float32)
    noise = draw_noise(policy, rng, (32,))
    act = make_actor(policy, 32)
    monkeypatch.setattr(policy, "get_distribution", None)
    actions = act(obs, noise)
    monkeypatch.undo()
    inner = policy.get_distribution(th.as_tensor(obs)).distribution
    if isinstance(space, spaces.Box):
        expected = (inner.mean + inner.stddev * th.as_tensor(noise)).detach().numpy()
        np.testing.assert_allclose(actions, expected, atol=1e-5)
    else:
        cumulative = np.cumsum(inner.probs.detach().numpy(), axis=1)
        np.testing.assert_array_equal(
            actions, [np.searchsorted(row, u) for row, u in zip(cumulative, noise[:, 0], strict=True)]
        )


def test_common_random_numbers_can_be_turned_off():
    spreads = []
    for common in (True, False):
        trpo = model("Swimmer-v5", vine_kwargs={"n_states": 32, "branches_per_state": 4, "branch_length": 20,
                                                "bootstrap": False, "common_random_numbers": common})  # fmt: skip
        trpo.learn(1)
        spreads.append(float(trpo._vine_batch.q_values.std(dim=1).mean()))
    assert spreads[0] < spreads[1] / 1.5  # measured: less than half


# The trunk does not notice


def rollouts(env: VecEnv, policy: str, iterations: int, **settings: Any) -> list[dict[str, np.ndarray]]:
    """What the buffer holds after each iteration of a policy that stays as it is."""
    trpo = TRPO(policy, env, **{**SMALL, "n_steps": 16, "batch_size": 16, **settings})
    kept: list[dict[str, np.ndarray]] = []

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            buffer = self.model.rollout_buffer
            names = ("observations", "actions", "rewards", "values", "advantages", "episode_starts")
            kept.append({name: np.array(getattr(buffer, name)) for name in names})

    trpo.train = lambda: None
    for _ in range(iterations):
        trpo.learn(1, callback=Keep(), reset_num_timesteps=False)
    return kept


TRUNKS = {
    "Hopper": (lambda: VecNormalize(make_vec_env("Hopper-v5", 2, seed=3)), "MlpPolicy", {}),
    "Pong, sticky": (lambda: pong(2), "CnnPolicy", {"policy_kwargs": None}),
    "gSDE": (lambda: make_vec_env("Pendulum-v1", 2, seed=3), "MlpPolicy", {"use_sde": True, "sde_sample_freq": 4}),
}


@pytest.mark.parametrize("case", list(TRUNKS))
def test_the_trunk_goes_on_as_if_there_had_been_no_branches(case):
    make, policy, settings = TRUNKS[case]
    without = rollouts(make(), policy, 10, **settings)
    with_branches = rollouts(make(), policy, 10, sampling="vine", vine_kwargs=VINE, **settings)
    for left, right in zip(without, with_branches, strict=True):
        for name, values in left.items():
            assert np.array_equal(values, right[name]), name


def test_running_statistics_see_the_trunk_only(tmp_path):
    models = []
    for sampling in ("single_path", "vine"):
        folder = tmp_path / sampling
        env = VecNormalize(make_vec_env("Hopper-v5", 2, seed=0, monitor_dir=str(folder)))
        trpo = TRPO("MlpPolicy", env, **{**SMALL, "n_steps": 64}, sampling=sampling)
        trpo.learn(1)
        models.append((trpo, [len(path.read_text().splitlines()) for path in sorted(folder.iterdir())]))
    (single, lines), (vine, other_lines) = models
    assert vine.num_timesteps > single.num_timesteps == 128
    assert lines == other_lines and lines[0] > 3
    assert [dict(info, t=0) for info in single.ep_info_buffer] == [dict(info, t=0) for info in vine.ep_info_buffer]
    for name in ("obs_rms", "ret_rms"):
        left, right = getattr(single.env, name), getattr(vine.env, name)
        assert np.array_equal(left.mean, right.mean) and np.array_equal(left.var, right.var) and left.count == right.count


@pytest.mark.parametrize("env_id", ["Hopper-v5", "FrozenLake-v1"])
def test_a_seed_fixes_the_run(env_id):
    runs = []
    for _ in range(2):
        trpo = model(make_vec_env(env_id, 2, seed=5))
        trpo.learn(300)
        runs.append(parameters(trpo))
        np.random.rand(3), th.rand(3)  # whatever happens elsewhere
    assert same(*runs)


# Every step is counted


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
def test_every_simulator_step_is_counted(kind, tmp_path):
    path = str(tmp_path / "steps")

    def wrapped(env: gym.Env) -> gym.Env:
        return CloneableEnv(Counting(env, path)) if kind == "SubprocVecEnv" else Counting(env, path)

    processes = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}}
    env = make_vec_env("CartPole-v1", 3, seed=0, wrapper_class=wrapped, **(processes if kind == "SubprocVecEnv" else {}))
    trpo = model(env, vine_kwargs={**VINE, "n_workers": 2 * (kind == "workers")})
    try:
        trpo.learn(1)  # copies are made, and tried out, on the first
        counted, steps = os.path.getsize(path), trpo.num_timesteps
        trpo.learn(300, reset_num_timesteps=False)
        assert trpo.num_timesteps - steps == os.path.getsize(path) - counted > 300
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
    assert logged["rollout/branch_terminated"] == 0.0
    assert logged["rollout/branch_spread"] > 0.0 and logged["rollout/branch_steps_per_second"] > 0.0


# Other processes


def test_environments_in_other_processes():
    # Forked: RL Zoo, which other tests import, puts a class of its own in the place of gymnasium's TimeLimit
    settings = {"vec_env_cls": SubprocVecEnv, "vec_env_kwargs": {"start_method": "fork"}}
    env = make_vec_env("Pendulum-v1", 2, seed=0, wrapper_class=CloneableEnv, **settings)
    try:
        trpo = model(env, n_steps=16)
        trpo.learn(1)
        assert trpo.num_timesteps == 32 + 6 * 3 * 5
    finally:
        env.close()


def test_environments_in_other_processes_need_the_wrapper():
    env = make_vec_env("Pendulum-v1", 2, seed=0, vec_env_cls=SubprocVecEnv)
    try:
        with pytest.raises(CannotCloneError, match="CloneableEnv"):
            model(env, n_steps=16).learn(1)
    finally:
        env.close()


@pytest.mark.parametrize(("env_id", "settings"), [("Hopper-v5", {}), ("FrozenLake-v1", {"branches_per_state": 5})])
def test_workers_give_what_one_process_gives(env_id, settings):
    runs = []
    for n_workers in (0, 2):
        env = VecNormalize(VecFrameStack(make_vec_env(env_id, 2, seed=5), 2) if env_id == "Hopper-v5" else
                           make_vec_env(env_id, 2, seed=5), norm_obs=env_id == "Hopper-v5")  # fmt: skip
        trpo = model(env, vine_kwargs={**VINE, **settings, "n_workers": n_workers})
        trpo.learn(400)
        runs.append((trpo.num_timesteps, parameters(trpo)))
        trpo.close_vine()
    assert runs[0][0] == runs[1][0] and same(runs[0][1], runs[1][1])


class Squashed(BaseFeaturesExtractor):
    """Features with parameters."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 4)
        self.layer = th.nn.Linear(3, 4)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.tanh(self.layer(observations))


def test_workers_tell_the_actors_features_from_the_critics():
    kwargs = {"features_extractor_class": Squashed, "share_features_extractor": False}
    runs = []
    for n_workers in (0, 1):
        trpo = model("Pendulum-v1", policy_kwargs=kwargs, vine_kwargs={**VINE, "n_workers": n_workers})
        trpo.learn(1)
        runs.append(trpo._vine_batch.q_values)
        trpo.close_vine()
    assert th.equal(*runs)


def workers_of(trpo: TRPO) -> list[subprocess.Popen]:
    return trpo._vine._workers.processes


class Killing(BaseCallback):
    """Ends a worker while it has a job."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            victim = workers_of(self.model)[0].pid
            threading.Timer(0.5, lambda: os.kill(victim, signal.SIGKILL)).start()


def test_a_worker_that_dies_is_reported_at_once():
    long = {"n_states": 32, "branches_per_state": 32, "branch_length": 2000, "bootstrap": False, "n_workers": 2}
    trpo = model("Swimmer-v5", vine_kwargs={**long, "branch_length": 2})
    trpo.learn(1)
    trpo._vine.settings = replace(trpo._vine.settings, **long)
    processes = workers_of(trpo)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="exit status -9"):
        trpo.learn(10_000, callback=Killing(), reset_num_timesteps=False)
    assert time.monotonic() - begin < 10.0
    assert all(process.poll() is not None for process in processes)


class Failing(gym.Wrapper):
    def step(self, action: Any) -> Any:
        if os.environ.get("MAIN_PROCESS") != str(os.getpid()):
            raise OSError("the simulator's license has expired")
        return self.env.step(action)


def test_a_worker_that_fails_says_why(monkeypatch):
    monkeypatch.setenv("MAIN_PROCESS", str(os.getpid()))
    trpo = model(Failing(gym.make("Pendulum-v1")), vine_kwargs={**VINE, "n_workers": 1})
    with pytest.raises(RuntimeError, match="license has expired"):
        trpo.learn(1)
    assert trpo._vine is None


class MadeHereOnly(ActorCriticPolicy):
    def __init__(self, *args: Any, **kwargs: Any):
        if os.environ.get("MAIN_PROCESS") != str(os.getpid()):
            raise OSError("the network's license has expired")
        super().__init__(*args, **kwargs)


def test_a_worker_that_fails_before_its_first_job_says_why(monkeypatch):
    monkeypatch.setenv("MAIN_PROCESS", str(os.getpid()))
    trpo = model("Pendulum-v1", MadeHereOnly, vine_kwargs={**VINE, "n_workers": 1})
    grow = Vine.grow

    def late(vine: Vine, *args: Any) -> Any:
        vine._workers.processes[0].wait()
        return grow(vine, *args)

    monkeypatch.setattr(Vine, "grow", late)
    with pytest.raises(RuntimeError, match="license has expired"):
        trpo.learn(1)


@pytest.mark.parametrize("change", ["hook", "method", "module"])
def test_workers_refuse_a_policy_that_was_changed(change):
    trpo = model("Pendulum-v1", vine_kwargs={**VINE, "n_workers": 1})
    network = trpo.policy.mlp_extractor.policy_net
    if change == "hook":
        network.register_forward_hook(lambda module, inputs, outputs: 5.0 * outputs)
    elif change == "method":
        trpo.policy.get_distribution = partial(ActorCriticPolicy.get_distribution, trpo.policy)
    else:
        network[1] = th.nn.ReLU()
    with pytest.raises(RuntimeError, match="hooked or put into it"):
        trpo.learn(1)


SCRIPT = """
import gymnasium as gym
from sb3_trpo import TRPO

class Mine(gym.Wrapper):
    pass

vine = {"n_states": 8, "branches_per_state": 2, "branch_length": 400, "bootstrap": False, "n_workers": 2}
model = TRPO("MlpPolicy", Mine(gym.make("Swimmer-v5")), n_steps=32, batch_size=32, sampling="vine", vine_kwargs=vine)
model.learn(1)
print(*(process.pid for process in model._vine._workers.processes), flush=True)
model.learn(10**9)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(how):
    """A script without a __main__ guard, interrupted, and killed."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2 and all(os.path.exists(f"/proc/{pid}") for pid in pids)
    time.sleep(1.0)
    process.send_signal(how)
    process.wait(timeout=10.0)
    process.stdout.close()
    deadline = time.monotonic() + 10.0
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


# Faults


class Global(ToyEnv):
    def _observe(self) -> Any:
        self.context = np.random.uniform(-1.0, 1.0, 4)
        return self.context.astype(np.float32)


class Streaming(ToyEnv):
    def reset(self, **kwargs: Any) -> Any:
        self.stream = (number for number in range(10))
        return super().reset(**kwargs)


@pytest.mark.parametrize(("env", "what"), [(Global, "global random generator"), (Streaming, "Streaming.stream")])
def test_what_cannot_be_copied_is_refused_before_training(env, what):
    trpo = model(env())
    with pytest.raises(ValueError, match="clone_state") as error:
        trpo.learn(1000)
    assert what in str(error.value)
    assert trpo.num_timesteps == 0


def test_environments_that_differ_are_refused():
    env = DummyVecEnv([lambda: gym.make("Pendulum-v1"), lambda: Monitor(gym.make("Pendulum-v1"))])
    with pytest.raises(ValueError, match="Build all of them the same way"):
        model(env, n_steps=16).learn(1)


class Odd(DiagGaussianDistribution):
    pass


def test_distributions_of_others_are_refused():
    trpo = model("Pendulum-v1")
    trpo.policy.action_dist = Odd(1)
    with pytest.raises(TypeError, match="Odd from noise that branches share"):
        trpo.learn(1)


class Poisonous(gym.Wrapper):
    """Rewards of copies are NaN."""

    original: Any = None

    def step(self, action: Any) -> Any:
        obs, reward, *rest = self.env.step(action)
        return obs, (reward if self is Poisonous.original else float("nan")), *rest


def test_nan_in_a_branch_reaches_nothing():
    Poisonous.original = Poisonous(gym.make("Pendulum-v1"))
    trpo = model(Poisonous.original)
    before = parameters(trpo)
    with pytest.warns(RuntimeWarning, match="the return of branch 0 is nan at step"):
        trpo.learn(1)
    assert same(before, parameters(trpo))


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"states": 3}, ValueError, "n_states, branches_per_state, branch_length"),
        ({"n_states": 0}, ValueError, "at least 1"),
        ({"n_states": 33}, ValueError, "32 states of the trunk"),
        ({"n_states": 2.5}, TypeError, "whole number"),
        ({"branches_per_state": 1}, ValueError, "at least 2"),
        ({"branches_per_state": "some"}, ValueError, "or 'all'"),
        ({"branches_per_state": "all"}, ValueError, "needs a discrete action space"),
        ({"branch_length": 0}, ValueError, "at least 1"),
        ({"bootstrap": 1}, TypeError, "True or False"),
        ({"n_workers": -1}, ValueError, "at least 0"),
        (["n_states"], TypeError, "give a dict"),
    ],
)
def test_wrong_options_are_refused(given, error, text):
    with pytest.raises(error, match="vine_kwargs") as raised:
        model("Pendulum-v1", vine_kwargs=given)
    assert text in str(raised.value)


def test_wrong_sampling_is_refused():
    with pytest.raises(ValueError, match="single_path, vine"):
        TRPO("MlpPolicy", "Pendulum-v1", sampling="tree")
    with pytest.raises(ValueError, match='sampling="vine"'):
        TRPO("MlpPolicy", "Pendulum-v1", vine_kwargs=VINE)


def test_defaults_depend_on_the_environment():
    few = VineSettings.of(None, spaces.Discrete(2), 2048)
    assert few.branches_per_state == "all" and few.n_states == round(2048 / (2 * 10))
    many = VineSettings.of(None, spaces.Discrete(18), 2048)
    assert many.branches_per_state == 4 and many.n_states == round(2048 / (4 * 10))
    assert VineSettings.of({"branch_length": 1}, spaces.Discrete(2), 64).n_states == 32
