"""Scripts, callbacks and zip files of sb3-contrib's TRPO and of PPO work with the class name swapped."""

import inspect
import json
import warnings
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sb3_contrib
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from sb3_trpo import TRPO
from sb3_trpo.trust_region import Status
from tests.toys import BOX_ACTIONS, DICT_OBSERVATIONS, ToyEnv, parameters, same

SMALL: dict[str, Any] = {"n_steps": 64, "batch_size": 64, "device": "cpu", "seed": 0}


def test_constructor_is_a_superset_of_sb3_contribs() -> None:
    """Same names, same order, same defaults; ours come after."""
    ours = list(inspect.signature(TRPO.__init__).parameters.values())
    theirs = list(inspect.signature(sb3_contrib.TRPO.__init__).parameters.values())
    for mine, other in zip(ours, theirs, strict=False):
        assert (mine.name, mine.default) == (other.name, other.default)
    new = ["ent_coef", "advantage_estimator", "fisher_sample_fraction", "sampling", "vine_kwargs", "unknown"]
    assert [parameter.name for parameter in ours[len(theirs) :]] == new


def test_every_option_is_stored_under_its_own_name() -> None:
    """``load`` and RL Zoo's -i write options by name."""
    given = {"target_kl": 0.02, "cg_damping": 0.2, "ent_coef": 0.1, "advantage_estimator": "monte_carlo", "batch_size": 32}
    model = TRPO("MlpPolicy", ToyEnv(), **{**SMALL, **given})
    assert {name: getattr(model, name) for name in given} == given


@pytest.mark.parametrize(("first", "second"), [(TRPO, sb3_contrib.TRPO), (sb3_contrib.TRPO, TRPO)])
@pytest.mark.parametrize("kwargs", [{}, {"policy_kwargs": {"optimizer_class": th.optim.SGD}}])
def test_zips_move_both_ways(first: Any, second: Any, kwargs: dict[str, Any], tmp_path: Path) -> None:
    """A zip saved by either class loads in the other with the same parameters and optimizer state, and goes on training."""
    model = first("MlpPolicy", ToyEnv(), **SMALL, **kwargs).learn(128)
    model.save(tmp_path / "model.zip")
    loaded = second.load(tmp_path / "model.zip", env=ToyEnv())
    assert same(parameters(model), parameters(loaded))
    states = [m.policy.optimizer.state_dict()["state"] for m in (model, loaded)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        for key, value in state.items():
            other = states[1][index][key]
            assert value is other is None or th.equal(th.as_tensor(value), th.as_tensor(other))
    before = parameters(loaded)
    loaded.learn(128, reset_num_timesteps=False)
    assert loaded.num_timesteps == 256
    assert not same(before, parameters(loaded))


def test_zip_names_none_of_our_classes(tmp_path: Path) -> None:
    """Whoever has SB3 can open it."""
    TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(64).save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert "sb3_trpo" not in json.dumps(json.loads(archive.read("data")))


def test_one_optimizer_over_all_parameters() -> None:
    """In SB3's order, of the class and with the arguments that were asked for."""
    kwargs = {"optimizer_class": th.optim.AdamW, "optimizer_kwargs": {"weight_decay": 0.1}}
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs=kwargs, **SMALL).learn(64)
    (group,) = model.policy.optimizer.param_groups
    assert all(a is b for a, b in zip(group["params"], model.policy.parameters(), strict=True))
    assert type(model.policy.optimizer) is th.optim.AdamW and group["weight_decay"] == 0.1


def test_saved_and_loaded_without_env_predicts(tmp_path: Path) -> None:
    """As RL Zoo's enjoy does it."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL).learn(64)
    model.save(tmp_path / "model")
    observation = np.zeros(4, dtype=np.float32)
    loaded = TRPO.load(tmp_path / "model")
    assert np.array_equal(
        loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0]
    )


class Stages(BaseCallback):
    """Notes when it is called, and that the buffer is complete at the rollout's end."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def _on_rollout_start(self) -> None:
        self.calls.append("start")

    def _on_step(self) -> bool:
        assert {"infos", "dones", "rewards", "actions", "new_obs", "clipped_actions", "rollout_buffer"} <= self.locals.keys()
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        assert buffer.full and np.any(buffer.advantages) and np.any(buffer.values) and np.any(buffer.log_probs)
        self.calls.append("end")


@pytest.mark.parametrize("algorithm", [PPO, sb3_contrib.TRPO, TRPO])
def test_a_ppo_script_runs_with_the_name_swapped(algorithm: Any, tmp_path: Path) -> None:
    """Common arguments, normalisation, TensorBoard, progress bar, callbacks, set_env, load, a second learn."""
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=0))
    eval_env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=1, seed=1), training=False, norm_reward=False)
    model = algorithm(
        "MlpPolicy",
        env,
        learning_rate=lambda remaining: 1e-3 * remaining,
        gamma=0.95,
        tensorboard_log=str(tmp_path / "tb"),
        policy_kwargs={"net_arch": [16]},
        **SMALL,
    )
    stop = StopTrainingOnRewardThreshold(reward_threshold=0.0)
    stages = Stages()
    callbacks = [
        EvalCallback(
            eval_env, callback_on_new_best=stop, n_eval_episodes=1, eval_freq=100, best_model_save_path=str(tmp_path)
        ),
        CheckpointCallback(save_freq=64, save_path=str(tmp_path / "checkpoints"), save_vecnormalize=True),
        StopTrainingOnMaxEpisodes(max_episodes=100),
        stages,
    ]
    model.learn(256, callback=callbacks, progress_bar=True, tb_log_name="run")
    assert model.num_timesteps == 256 and stages.calls == ["start", "end"] * 2
    assert list((tmp_path / "tb").rglob("events*")) and list((tmp_path / "checkpoints").glob("*.zip"))
    assert (tmp_path / "best_model.zip").exists()

    model.save(tmp_path / "model")
    env.save(str(tmp_path / "vecnormalize.pkl"))
    fresh = VecNormalize.load(str(tmp_path / "vecnormalize.pkl"), make_vec_env("Pendulum-v1", n_envs=2, seed=2))
    loaded = algorithm.load(tmp_path / "model", env=fresh)
    loaded.set_env(fresh)
    loaded.learn(128, reset_num_timesteps=False)
    assert loaded.num_timesteps == 384
    evaluate_policy(loaded, eval_env, n_eval_episodes=1)


def test_callback_stops_training() -> None:
    """A False from a callback ends learn at once."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    model.learn(1000, callback=lambda locals_, globals_: locals_["self"].num_timesteps < 10)
    assert model.num_timesteps == 10


def test_log_has_sb3_contribs_keys_and_ours(tmp_path: Path) -> None:
    """Every key of sb3-contrib's, the step's diagnostics and Theorem 1's terms, in a CSV file too; no bound at γ = 1."""
    logs = {}
    for name, algorithm, kwargs in (
        ("theirs", sb3_contrib.TRPO, {}),
        ("ours", TRPO, {}),
        ("undiscounted", TRPO, {"gamma": 1.0}),
    ):
        model = algorithm("MlpPolicy", ToyEnv(), **SMALL, **kwargs)
        model.set_logger(configure(str(tmp_path / name), ["csv"]))
        model.learn(128)
        logs[name] = set(model.logger.name_to_value)
        assert len((tmp_path / name / "progress.csv").read_text().splitlines()) == 3
    assert logs["theirs"] <= logs["ours"]
    ours = "kl_max entropy_loss step_size cg_iterations cg_residual backtracks expected_improvement actual_improvement status"
    bound = {"train/bound_epsilon", "train/bound_penalty", "train/bound_lower"}
    assert {f"train/{key}" for key in ours.split()} | bound <= logs["ours"]
    assert not bound & logs["undiscounted"]


@pytest.mark.parametrize("kwargs", [{}, {"use_sde": True, "sde_sample_freq": 4}, {"advantage_estimator": "monte_carlo"}])
def test_a_seed_reproduces_a_run(kwargs: dict[str, Any]) -> None:
    """Twice the same seed gives the same parameters, bit for bit; another seed gives others."""
    runs = [parameters(TRPO("MlpPolicy", ToyEnv(), **{**SMALL, "seed": seed}, **kwargs).learn(192)) for seed in (1, 1, 2)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


def test_images_and_dicts_learn() -> None:
    """NatureCNN and the combined extractor train without a special word."""
    image = spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)

    class ImageEnv(ToyEnv):
        def _observe(self) -> Any:
            super()._observe()
            return self.np_random.integers(0, 256, image.shape, dtype=np.uint8)

    for policy, env in (
        ("CnnPolicy", ImageEnv(spaces.Discrete(3), image)),
        ("MultiInputPolicy", ToyEnv(BOX_ACTIONS, DICT_OBSERVATIONS)),
    ):
        model = TRPO(policy, env, n_steps=32, batch_size=32, n_critic_updates=2, device="cpu", seed=0).learn(64)
        assert model.last_update["train/status"] == "ok"


@pytest.mark.parametrize("space", [spaces.Discrete(5), spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(4)])
def test_discrete_observations(space: spaces.Space) -> None:
    """Observations that are not vectors train too, with several environments."""

    class DiscreteEnv(ToyEnv):
        def _observe(self) -> Any:
            super()._observe()
            return space.sample()

    env = make_vec_env(lambda: DiscreteEnv(spaces.Discrete(3), space), n_envs=2, seed=0)
    assert TRPO("MlpPolicy", env, **SMALL).learn(256).last_update["train/status"] == "ok"


def test_load_with_another_number_of_environments(tmp_path: Path) -> None:
    """As SB3 allows it; a warning about minibatches is given when a model is made, not when it is loaded."""
    TRPO("MlpPolicy", make_vec_env("CartPole-v1", 2), **SMALL).learn(128).save(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = TRPO.load(tmp_path / "model", env=make_vec_env("CartPole-v1", 3))
    assert loaded.learn(192).num_timesteps == 192


@pytest.mark.parametrize("network", ["policy_net", "value_net"])
def test_hooks_on_gradients_are_heeded(network: str) -> None:
    """Weights whose gradients a hook sets to zero stay where they are, of the actor as of the critic."""
    model = TRPO("MlpPolicy", ToyEnv(), n_steps=64, seed=0, device="cpu")
    weight = getattr(model.policy.mlp_extractor, network)[0].weight
    mask = th.rand_like(weight) < 0.5
    weight.register_hook(lambda gradient: gradient * mask)
    before = weight.detach().clone()
    model.learn(64)
    assert th.equal((weight == before), ~mask)


def test_the_remaining_progress_ends_at_zero() -> None:
    """A rollout goes beyond the steps asked for; a schedule that falls to 0 with them must not give a negative rate there."""
    model = TRPO("MlpPolicy", ToyEnv(), n_steps=64, learning_rate=lambda progress: 1e-3 * progress, device="cpu")
    model.learn(128)
    assert model.logger.name_to_value["train/learning_rate"] == 0.0
    model.learn(100)
    assert model.logger.name_to_value["train/learning_rate"] == 0.0


def test_learning_goes_on_after_a_stop() -> None:
    """A rollout cut short by a callback leaves a model that can go on where its environments stand."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL)
    model.learn(1000, callback=lambda locals_, globals_: locals_["self"].num_timesteps < 70)
    assert model.num_timesteps == 70
    model.learn(64, reset_num_timesteps=False)
    assert model.num_timesteps == 134 and model.last_update["train/status"] == "ok"


def test_subprocesses() -> None:
    """SubprocVecEnv gives what DummyVecEnv gives, bit for bit."""
    runs = []
    for kind in (None, SubprocVecEnv):
        env = make_vec_env("CartPole-v1", n_envs=2, seed=0, vec_env_cls=kind)
        runs.append(parameters(TRPO("MlpPolicy", env, **SMALL).learn(256)))
        env.close()
    assert same(*runs)


@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a GPU")
def test_cuda() -> None:
    """The same training on a GPU, for every kind of policy."""
    for policy, env, kwargs in (
        ("MlpPolicy", ToyEnv(), {}),
        ("MlpPolicy", ToyEnv(), {"use_sde": True}),
        ("MultiInputPolicy", ToyEnv(spaces.Discrete(3), DICT_OBSERVATIONS), {"sub_sampling_factor": 2}),
    ):
        model = TRPO(policy, env, **{**SMALL, "device": "cuda"}, **kwargs).learn(128)
        assert model.last_update["train/status"] == "ok"


@pytest.mark.filterwarnings(
    "ignore:Mean of empty slice", "ignore:invalid value encountered"
)  # the peer, without a critic's fit
@pytest.mark.parametrize(("space", "d"), [(BOX_ACTIONS, 3), (spaces.MultiBinary(3), 3), (spaces.Discrete(4), 1)])
def test_takes_sb3_contribs_step(space: spaces.Space, d: int) -> None:
    """From the same rollout, with target_kl and cg_damping times d: truth is the peer's own step, to a thousandth of it."""
    settings = {**SMALL, "n_steps": 512, "n_critic_updates": 0}
    theirs = sb3_contrib.TRPO("MlpPolicy", ToyEnv(space), target_kl=0.01, cg_damping=0.1, **settings)
    ours = TRPO("MlpPolicy", ToyEnv(space), target_kl=0.01 * d, cg_damping=0.1 * d, **settings)
    ours.set_parameters(theirs.get_parameters())
    begin = th.nn.utils.parameters_to_vector(ours.policy.parameters()).detach()
    theirs._setup_learn(512)
    callback = ours._setup_learn(512)[1]
    ours.collect_rollouts(ours.env, callback, ours.rollout_buffer, 512)
    theirs.rollout_buffer = deepcopy(ours.rollout_buffer)
    steps = []
    for model in (ours, theirs):
        model.train()
        steps.append(th.nn.utils.parameters_to_vector(model.policy.parameters()).detach() - begin)
    assert ours.last_update["train/status"] is Status.OK
    assert float((steps[0] - steps[1]).norm() / steps[1].norm()) < 1e-3
