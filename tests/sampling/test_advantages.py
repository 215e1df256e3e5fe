"""From rewards to advantages by hand, and the values that must never become one: NaN and infinity."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import no_grad

from sb3_trpo import TRPO
from sb3_trpo.sampling import Defect, check_running_statistics, find_defect, monte_carlo_advantages

NAN, INF = float("nan"), float("inf")
BOX = spaces.Box(-10.0, 10.0, (2,), np.float32)
DICT = spaces.Dict({"joints": BOX, "pixels": spaces.Box(0, 255, (1, 4, 4), np.uint8)})


def full_buffer(observation_space=BOX, action_space=BOX):
    """Five steps of two environments, all zeros."""
    kind = DictRolloutBuffer if isinstance(observation_space, spaces.Dict) else RolloutBuffer
    buffer = kind(5, observation_space, action_space, device="cpu", gamma=0.5, n_envs=2)
    buffer.pos, buffer.full = 5, True
    return buffer


def test_monte_carlo_advantages():
    """Truth by hand at γ = ½, exact in float32: discounted rewards to the end of episode or rollout, minus their mean.

    Environment 0: episodes of steps 0-2 and 3-…; environment 1: an old episode ends with step 0, a new one is cut by step 4.
    """
    buffer = full_buffer()
    buffer.rewards[:] = np.transpose([[1, 2, 3, 4, 5], [8, 0, 0, 0, 16]])
    buffer.episode_starts[:] = np.transpose([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]])
    buffer.values[:] = NAN  # no critic is asked
    monte_carlo_advantages(buffer, lambda mean: mean)
    returns = np.transpose([[1 + 1 + 0.75, 2 + 1.5, 3, 4 + 2.5, 5], [8, 2, 4, 8, 16]])
    np.testing.assert_array_equal(buffer.returns, returns)
    np.testing.assert_array_equal(buffer.advantages, returns - 5.875)


class Script(gym.Env):
    """Three steps that pay 1, 2, 3; the second ends an episode. An observation is the value that the critic gives it."""

    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, ending):
        self.ending = ending
        self.pages = iter([(0.5, None), (1.0, 1), (8.0, 2), (2.0, None), (4.0, 3)])  # observation, reward that led to it

    def turn(self):
        value, reward = next(self.pages)
        return np.array([value], dtype=np.float32), reward

    def reset(self, *, seed=None, options=None):
        return self.turn()[0], {}

    def step(self, action):
        observation, reward = self.turn()
        over = reward == 2
        return observation, reward, over and self.ending == "terminated", over and self.ending == "truncated", {}


class OwnForward(ActorCriticPolicy):
    """A policy with a ``forward`` of its own, which is therefore asked for values at every step and not afterwards."""

    def forward(self, obs, deterministic=False):
        return super().forward(obs, deterministic)


@pytest.mark.parametrize("policy", [ActorCriticPolicy, OwnForward])
@pytest.mark.parametrize(("ending", "advantages"), [("terminated", [1 + 0.25 * 1, 1, 3]), ("truncated", [1 + 0.25 * 5, 5, 3])])
def test_generalised_advantages(policy, ending, advantages):
    """Truth by hand at γ = λ = ½, exact in float32: A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γ V(s_{t+1}) − V(s_t).

    V = ½, 1 | 2, and 4 after the rollout; the episode before the bar ends in a state of value 8.
        δ_0 = 1 + ½ · 1 − ½ = 1       δ_2 = 3 + ½ · 4 − 2 = 3, which does not reach back across the bar
        δ_1 = 2 + 0 − 1 = 1 when the episode was terminated, 2 + ½ · 8 − 1 = 5 when a time limit cut it
    """
    model = TRPO(
        policy,
        DummyVecEnv([lambda: Script(ending)]),
        n_steps=3,
        batch_size=3,
        gamma=0.5,
        gae_lambda=0.5,
        n_critic_updates=0,
        policy_kwargs={"net_arch": []},
        device="cpu",
    )
    with no_grad():
        model.policy.value_net.weight.fill_(1.0)
        model.policy.value_net.bias.fill_(0.0)
    model.learn(3)
    np.testing.assert_array_equal(model.rollout_buffer.advantages.flatten(), advantages)
    np.testing.assert_array_equal(model.rollout_buffer.returns.flatten(), np.add(advantages, [0.5, 1.0, 2.0]))


ARRAYS = ["observations", "observations['joints']", "actions", "rewards", "log_probs", "values", "advantages", "returns"]


@pytest.mark.parametrize("flattened", [False, True], ids=["as collected", "flattened by get()"])
@pytest.mark.parametrize(("step", "env"), [(0, 0), (0, 1), (3, 0), (4, 1)])
@pytest.mark.parametrize("value", [NAN, -INF])
@pytest.mark.parametrize("key", ARRAYS)
def test_finds_the_defect(key, value, step, env, flattened):
    """Truth: the one spot that was spoiled, after a clean bill of health; get() reorders all arrays but the rewards."""
    in_dict = key == "observations['joints']"
    buffer = full_buffer(DICT if in_dict else BOX)
    assert find_defect(buffer) is None
    array = buffer.observations["joints"] if in_dict else getattr(buffer, key)
    array[step, env] = value
    if flattened:
        next(buffer.get(batch_size=None))
    defect = find_defect(buffer)
    assert (defect.key, defect.step, defect.env) == (key, step, env)
    assert defect.value == value or (np.isnan(defect.value) and np.isnan(value))
    assert str(defect) == f"{key} is {value} at step {step} of the rollout in environment {env}"


def test_names_the_cause_before_its_consequences():
    """Truth: a NaN observation at step 2 spoils values from there on and earlier advantages: the observation is to blame."""
    buffer = full_buffer()
    buffer.advantages[:3, 1] = buffer.values[2:, 1] = buffer.observations[2:, 1] = NAN
    defect = find_defect(buffer)
    assert (defect.key, defect.step, defect.env) == ("observations", 2, 1)


def test_whole_numbers_are_always_finite():
    """Truth: images and discrete actions have no NaN to look for; what is beside them is still looked at."""
    buffer = full_buffer(DICT, spaces.Discrete(3))
    assert find_defect(buffer) is None
    buffer.rewards[1, 1] = INF
    assert find_defect(buffer) == Defect("rewards", INF, 1, 1)


class Still(gym.Env):
    """Nothing happens here."""

    action_space = spaces.Discrete(2)

    def __init__(self, observation_space):
        self.observation_space = observation_space

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}


def normalised(space, **options):
    return VecNormalize(DummyVecEnv([lambda: Still(space)]), **options)


JOINTS = spaces.Dict({"joints": BOX, "wheels": BOX})
STATISTICS = {
    "obs_rms": (BOX, lambda env: env.obs_rms),
    "obs_rms['wheels']": (JOINTS, lambda env: env.obs_rms["wheels"]),
    "ret_rms": (BOX, lambda env: env.ret_rms),
}


@pytest.mark.parametrize("poison", [NAN, INF])
@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: VecFrameStack(env, 2)], ids=["outermost", "inside another"])
@pytest.mark.parametrize("name", STATISTICS)
def test_refuses_poisoned_statistics(name, wrap, poison):
    """Truth: one NaN or infinity in the stream makes mean and variance non-finite for good; the error says whose they are."""
    space, choose = STATISTICS[name]
    env = normalised(space)
    statistics, wrapped = choose(env), wrap(env)
    statistics.update(np.ones((4, *statistics.mean.shape)))
    check_running_statistics(wrapped)
    with np.errstate(invalid="ignore"):
        statistics.update(np.full((1, *statistics.mean.shape), poison))
    with pytest.raises(ValueError) as error:
        check_running_statistics(wrapped)
    assert f"VecNormalize.{name} " in str(error.value)


@pytest.mark.parametrize("part", ["mean", "var"])
def test_refuses_either_moment(part):
    """Truth: a variance that overflowed is as fatal as a NaN mean."""
    env = normalised(BOX)
    getattr(env.obs_rms, part)[1] = INF
    with pytest.raises(ValueError, match=r"VecNormalize\.obs_rms"):
        check_running_statistics(env)


HEALTHY = {
    "no environment": lambda: None,
    "no wrapper": lambda: DummyVecEnv([lambda: Still(BOX)]),
    "healthy": lambda: normalised(BOX),
    "observations only": lambda: normalised(JOINTS, norm_reward=False),
    "rewards only": lambda: normalised(BOX, norm_obs=False),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_accepts_healthy_or_no_statistics(name):
    """Truth: nothing is wrong, so nothing is refused."""
    check_running_statistics(HEALTHY[name]())
