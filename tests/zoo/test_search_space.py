"""What Optuna draws from: settings that TRPO takes, KL in nats of the joint action, and the vine only where it is used."""

import math

import gymnasium as gym
import optuna
import pytest
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
from stable_baselines3.common.env_util import make_vec_env

import sb3_trpo.zoo
from sb3_trpo import TRPO
from sb3_trpo.zoo.experiment import EvaluatedTrial

TASKS = {"CartPole-v1": 0, "Pendulum-v1": 1, "Hopper-v5": 3}  # and RL Zoo's count of actions


def study(**settings: object) -> optuna.Study:
    """A study as RL Zoo makes one: what is tuned is noted as text."""
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for name, value in settings.items():
        made.set_user_attr(name, str(value))
    return made


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("settings", [{}, {"sampling": "single_path"}, {"sampling": "vine"}])
def test_candidates_are_settings_of_trpo(task, settings):
    env = gym.make(task)
    for trial in (study(**settings).ask() for _ in range(5)):
        candidate = HYPERPARAMS_SAMPLER["trpo"](trial, TASKS[task], 1, {})
        model = TRPO("MlpPolicy", env, device="cpu", **candidate)
        assert model.sampling == settings.get("sampling", "single_path")
        assert HYPERPARAMS_CONVERTER["trpo"](trial.params) == candidate  # what --trial-id makes of a stored trial
        assert trial.user_attrs["n_steps"] == candidate["n_steps"]
        assert getattr(model.policy, "log_std_init", 0.0) == trial.params.get("log_std_init", 0.0)
        assert ("log_std_init" in trial.params) == (TASKS[task] > 0)
        assert ("branch_length" in trial.params) == (settings.get("sampling") == "vine")


@pytest.mark.parametrize("dimensions", [0, 1, 17])
def test_the_kl_grows_with_the_number_of_action_dimensions(dimensions):
    """RL Zoo's range for sb3-contrib, whose KL is the mean over dimensions, is [0.001, 0.1]."""
    trial = study().ask()
    HYPERPARAMS_SAMPLER["trpo"](trial, dimensions, 1, {})
    bounds = trial.distributions["target_kl"]
    assert math.isclose(bounds.low, 0.001 * max(dimensions, 1)) and math.isclose(bounds.high, 0.1 * max(dimensions, 1))


def test_other_options_of_the_vine_are_kept():
    trial = study(sampling="vine", vine_kwargs={"n_workers": 2, "branch_length": 99}).ask()
    options = HYPERPARAMS_SAMPLER["trpo"](trial, 3, 1, {})["vine_kwargs"]
    assert options["n_workers"] == 2
    assert options["branch_length"] == trial.params["branch_length"] <= 50


def test_other_algorithms_keep_rl_zoos_search_space():
    assert HYPERPARAMS_SAMPLER["ppo"].__module__ == "rl_zoo3.hyperparams_opt"
    assert HYPERPARAMS_SAMPLER["trpo"] is sb3_trpo.zoo.sample_trpo_params


@pytest.mark.parametrize(("settings", "evaluations"), [({}, 4), ({"sampling": "vine"}, 3)])
def test_trials_are_evaluated_by_env_steps(settings, evaluations):
    """192 steps, every 48; with a vine, whose branches take half of them without a call, at steps 65, 96 and 144."""
    env = make_vec_env("Pendulum-v1")
    vine = {"vine_kwargs": {"n_states": 16, "branches_per_state": 2, "branch_length": 1}} if settings else {}
    model = TRPO("MlpPolicy", env, n_steps=32, batch_size=32, device="cpu", **settings, **vine)
    callback = EvaluatedTrial(make_vec_env("Pendulum-v1"), optuna.trial.FixedTrial({}), n_eval_episodes=1, eval_freq=48)
    model.learn(192, callback=callback)
    assert callback.eval_idx == evaluations
