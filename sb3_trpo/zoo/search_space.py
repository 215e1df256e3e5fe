"""What Optuna draws TRPO's settings from, in RL Zoo's search for hyperparameters."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from rl_zoo3.hyperparams_opt import convert_onpolicy_params

VINE_OPTIONS = ("branches_per_state", "branch_length", "bootstrap")
LSTM_OPTIONS: dict[str, Sequence[int]] = {"lstm_hidden_size": [32, 64, 128, 256], "enable_critic_lstm": [False, True]}


def sample_trpo_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """One candidate. RL Zoo's ranges where it has them, but ``gae_lambda`` down to 0.8, which is best on Ant; the same
    parameters in every trial, as its sampler assumes.

    ``target_kl`` and ``cg_damping`` are in nats of the joint action, so their ranges grow with the number of action
    dimensions. Of continuous actions the first standard deviation is drawn, too. The vine's options are searched if the
    study's settings have ``sampling: vine``; those among its ``vine_kwargs`` that are not searched, such as ``n_workers``,
    are kept.

    :param trial: draws the values
    :param n_actions: d, dimensions of a ``Box`` action space; 0 for any other
    :param n_envs: not used
    :param additional_args: not used
    :return: arguments of the constructor
    """
    d = max(n_actions, 1)
    params: dict[str, Any] = {
        "n_steps_pow": trial.suggest_int("n_steps_pow", 7, 12),
        "batch_size_pow": trial.suggest_int("batch_size_pow", 5, 10),
        "one_minus_gamma": trial.suggest_float("one_minus_gamma", 1e-4, 0.03, log=True),
        "one_minus_gae_lambda": trial.suggest_float("one_minus_gae_lambda", 1e-4, 0.2, log=True),
        "advantage_estimator": trial.suggest_categorical("advantage_estimator", ["gae", "monte_carlo"]),
        "normalize_advantage": trial.suggest_categorical("normalize_advantage", [True, False]),
        "target_kl": trial.suggest_float("target_kl", 0.001 * d, 0.1 * d, log=True),
        "cg_damping": trial.suggest_float("cg_damping", 0.001 * d, 0.5 * d, log=True),
        "cg_max_steps": trial.suggest_int("cg_max_steps", 5, 30),
        "fisher_sample_fraction": trial.suggest_categorical("fisher_sample_fraction", [0.1, 0.3, 1.0]),
        "ent_coef": trial.suggest_float("ent_coef", 1e-8, 0.1, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 2e-3, log=True),
        "n_critic_updates": trial.suggest_int("n_critic_updates", 5, 30),
        "net_arch": trial.suggest_categorical("net_arch", ["small", "medium"]),
        "activation_fn": trial.suggest_categorical("activation_fn", ["tanh", "relu"]),
    }
    if n_actions > 0:
        params["log_std_init"] = trial.suggest_float("log_std_init", -3.0, 0.0)
    settings = trial.study.user_attrs  # RL Zoo notes there what it tunes, as text
    if settings.get("sampling") == "vine":
        params["branch_length"] = trial.suggest_int("branch_length", 1, 50, log=True)
        params["bootstrap"] = trial.suggest_categorical("bootstrap", [True, False])
        if n_actions > 0:  # with discrete actions the vine tries all of them where it can
            params["branches_per_state"] = trial.suggest_categorical("branches_per_state", [2, 4, 8])
    hyperparams = sampled_settings(params, ast.literal_eval(settings.get("vine_kwargs", "None")))
    for name in ("n_steps", "batch_size", "gamma", "gae_lambda"):
        trial.set_user_attr(name, hyperparams[name])
    return hyperparams


def sampled_settings(sampled_params: dict[str, Any], vine_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The constructor's arguments for what a trial has drawn, with the vine's options that are not searched.

    :param sampled_params: values by the names they were drawn under
    :param vine_kwargs: of the settings that the search began with
    """
    hyperparams = convert_recurrent_params(sampled_params)  # which are the others where there is no memory
    if "vine_kwargs" in hyperparams:
        hyperparams["vine_kwargs"] = {**(vine_kwargs or {}), **hyperparams["vine_kwargs"]}
    return hyperparams


def convert_trpo_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments for what a trial has drawn; RL Zoo's ``--trial-id`` calls this for a stored one.

    :param sampled_params: values by the names they were drawn under
    """
    own = ("log_std_init", *VINE_OPTIONS)
    hyperparams = convert_onpolicy_params({name: value for name, value in sampled_params.items() if name not in own})
    if "log_std_init" in sampled_params:
        hyperparams["policy_kwargs"]["log_std_init"] = sampled_params["log_std_init"]
    vine_kwargs = {name: value for name, value in sampled_params.items() if name in VINE_OPTIONS}
    if vine_kwargs:
        hyperparams |= {"sampling": "vine", "vine_kwargs": vine_kwargs}
    return hyperparams


def sample_recurrent_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """One candidate for a policy with memory: the same, and the LSTMs; arguments as of :func:`sample_trpo_params`."""
    hyperparams = sample_trpo_params(trial, n_actions, n_envs, additional_args)
    hyperparams["policy_kwargs"] |= {name: trial.suggest_categorical(name, values) for name, values in LSTM_OPTIONS.items()}
    return hyperparams


def convert_recurrent_params(sampled_params: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments for what a trial has drawn.

    :param sampled_params: values by the names they were drawn under
    """
    others = {name: value for name, value in sampled_params.items() if name not in LSTM_OPTIONS}
    hyperparams = convert_trpo_params(others)
    hyperparams["policy_kwargs"] |= {name: sampled_params[name] for name in LSTM_OPTIONS if name in sampled_params}
    return hyperparams
