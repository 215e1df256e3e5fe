"""MaskableTRPO: what sb3-contrib's users expect of it, and that what is masked is never taken."""

import os
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.distributions import MaskableCategoricalDistribution
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from sb3_trpo import TRPO, MaskableTRPO, WorkerVecEnv
from sb3_trpo.sampling import FrameStackBuffer
from tests.masked import SPACES, Cells, MaskedToy, everything, logits_of, random_masks, sizes, valid_kl
from tests.toys import DICT_OBSERVATIONS, Reader, ToyEnv, parameters, same

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "device": "cpu", "seed": 0}

MASKED_STEPS = int(os.environ.get("SB3_TRPO_MASKED_STEPS", 40_000))  # a multiple of 40,000


class Extractor(FlattenExtractor):
    """Of a class that is not known, so that nothing is written out by hand."""


ALIKE = {
    "by hand": ("MlpPolicy", {}, {}),
    "by autograd": ("MlpPolicy", {}, {"features_extractor_class": Extractor}),
    "dict and images": ("MultiInputPolicy", {"observation_space": DICT_OBSERVATIONS}, {}),
}


@pytest.mark.parametrize("kind", ["discrete", "multi-discrete"])
@pytest.mark.parametrize("case", ALIKE)
def test_with_all_actions_valid_the_run_is_trpos_bit_for_bit(kind: str, case: str) -> None:
    policy, env_kwargs, policy_kwargs = ALIKE[case]
    models = []
    for algorithm, make in ((TRPO, ToyEnv), (MaskableTRPO, lambda space, **kwargs: MaskedToy(space, everything, **kwargs))):
        env = make_vec_env(lambda make=make: make(SPACES[kind], **env_kwargs), 2, seed=5)
        model = algorithm(policy, env, ent_coef=0.01, policy_kwargs=policy_kwargs, fisher_sample_fraction=0.5, **SMALL)
        models.append(model.learn(3 * 64))
    first, second = models
    assert first._n_updates == 3 and first.num_timesteps == second.num_timesteps
    assert same(parameters(first), parameters(second))
    for name in ("actions", "values", "log_probs", "advantages"):
        assert np.array_equal(getattr(first.rollout_buffer, name), getattr(second.rollout_buffer, name))


class Outside(BaseCallback):
    """Measures every update's KL over valid actions by itself."""

    def __init__(self, blocks: list[int]) -> None:
        super().__init__()
        self.blocks, self.kl, self.refused = blocks, [], 0
        self.masks: list[np.ndarray] = []
        self.before: Any = None

    def _measure(self) -> None:
        if self.before is not None:
            observations, masks, old = self.before
            self.kl.append(valid_kl(old, logits_of(self.model.policy, observations), masks, self.blocks).mean())

    def _on_rollout_start(self) -> None:
        self._measure()
        self.masks = [np.stack(self.training_env.env_method("action_masks"))]

    def _on_step(self) -> bool:
        self.masks.append(np.stack(self.training_env.env_method("action_masks")))
        return True

    def _on_rollout_end(self) -> None:
        observations = th.as_tensor(self.model.rollout_buffer.observations.reshape(-1, 4).copy())
        masks = np.stack(self.masks[:-1]).reshape(len(observations), -1)
        self.before = observations, masks, logits_of(self.model.policy, observations)

    def _on_training_end(self) -> None:
        self._measure()


def test_ten_updates_keep_the_bound_over_valid_actions(space: Any) -> None:
    """The KL divergence recomputed from outside, in double precision; masks from the environments themselves."""
    env = make_vec_env(lambda: MaskedToy(space), 2, seed=1)
    model = MaskableTRPO("MlpPolicy", env, **{**SMALL, "n_steps": 64, "batch_size": 128})
    outside = Outside(sizes(space))
    model.learn(10 * 128, callback=outside)
    assert len(outside.kl) == 10
    assert max(outside.kl) <= 0.01001
    assert sum(kl > 0.002 for kl in outside.kl) >= 8  # and it moved


def test_many_masked_steps_without_an_invalid_action() -> None:
    """The environment checks each, while the policy learns; one network is run by NumPy, the other by PyTorch."""
    Cells.count = 0
    for policy_kwargs in ({"net_arch": [8]}, {"net_arch": [8], "features_extractor_class": Extractor}):
        env = make_vec_env(Cells, 20, seed=0)
        model = MaskableTRPO(
            "MlpPolicy", env, n_steps=1000, batch_size=20_000, cg_max_steps=3, target_kl=0.5, policy_kwargs=policy_kwargs,
            device="cpu", seed=0, n_critic_updates=1,
        )  # fmt: skip
        model.learn(MASKED_STEPS // 2)
    assert Cells.count == MASKED_STEPS
    if MASKED_STEPS >= 200_000:  # and it learned
        assert model.ep_info_buffer and np.mean([info["r"] / info["l"] for info in model.ep_info_buffer]) > 3.0


def test_stored_masks_are_those_of_the_states(space: Any) -> None:
    """And stored actions are possible there."""
    model = MaskableTRPO("MlpPolicy", make_vec_env(lambda: MaskedToy(space), 2), **SMALL)
    outside = Outside(sizes(space))
    model.learn(64, callback=outside)
    samples = model._read_samples()
    assert np.array_equal(samples.observations.masks.numpy(), outside.before[1])  # type: ignore[union-attr]
    begins = th.tensor(np.cumsum([0, *sizes(space)[:-1]]))
    chosen = begins + samples.actions.long().reshape(64, -1)
    assert samples.observations.masks.gather(1, chosen).all()  # type: ignore[union-attr]


def test_a_callback_may_read_the_buffer(space: Any) -> None:
    """Masks stay with their states: the same parameters, up to the order of sums."""
    found = []
    for callback in (None, Reader()):
        env = make_vec_env(lambda: MaskedToy(space), 3, seed=2)
        model = MaskableTRPO("MlpPolicy", env, **{**SMALL, "n_critic_updates": 0})
        found.append(parameters(model.learn(96, callback=callback)))
    assert all(th.allclose(found[0][name], found[1][name], atol=1e-4) for name in found[0])


@pytest.mark.parametrize("faulty", [0, 7])
def test_masks_that_cannot_be_are_refused_with_environment_and_step(faulty: int) -> None:
    def nothing(env: Any) -> np.ndarray:
        mask = everything(env)
        mask[5:] = env.total_steps != faulty
        return mask

    def short(env: Any) -> np.ndarray:
        return everything(env)[: 8 if env.total_steps == faulty else None]

    space = SPACES["multi-discrete"]
    left = f"environment 1 at step {faulty} of the rollout left no outcome of action component 2"
    shape = rf"environment 1 at step {faulty} of the rollout gave an array of shape \(8,\): .* 9 truth values"
    for masking, words in ((nothing, left), (short, shape)):
        envs = [lambda: MaskedToy(space), lambda masking=masking: MaskedToy(space, masking)]
        model = MaskableTRPO("MlpPolicy", DummyVecEnv(envs), **SMALL)
        before = parameters(model)
        with pytest.raises(ValueError, match=words):
            model.learn(64)
        assert same(before, parameters(model))


def test_masks_in_the_shape_of_the_action_are_taken() -> None:
    space = spaces.MultiBinary(3)
    env = MaskedToy(space)
    shaped = ActionMasker(MaskedToy(space), lambda env: env.unwrapped.mask.reshape(3, 2))
    assert MaskableTRPO("MlpPolicy", env, **SMALL).learn(32).num_timesteps == 32
    assert MaskableTRPO("MlpPolicy", shaped, **SMALL).learn(32).num_timesteps == 32


def test_masks_may_be_tensors_or_lists_but_not_texts() -> None:
    def learn(given: Callable[[np.ndarray], Any]) -> Any:
        env = ActionMasker(MaskedToy(spaces.Discrete(4)), lambda env: given(env.unwrapped.mask))
        return MaskableTRPO("MlpPolicy", env, **SMALL).learn(32).rollout_buffer.actions

    assert np.array_equal(learn(th.as_tensor), learn(np.asarray)) and np.array_equal(learn(list), learn(np.asarray))
    for texts in (lambda mask: mask.astype(str), lambda mask: [None, *mask[1:].tolist()]):
        with pytest.raises(TypeError, match=r"at step 0 of the rollout gave \[.*\]: it must give truth values"):
            learn(texts)


def test_an_environment_without_masks_is_refused_unless_they_are_not_wanted() -> None:
    model = MaskableTRPO("MlpPolicy", ToyEnv(spaces.Discrete(3)), **SMALL)
    with pytest.raises(ValueError, match=r"no method action_masks.*ActionMasker.*use_masking=False"):
        model.learn(32)
    assert model.learn(32, use_masking=False).num_timesteps == 32
    unmasked = TRPO("MlpPolicy", ToyEnv(spaces.Discrete(3)), **SMALL).learn(32)
    assert same(parameters(model), parameters(unmasked))


def test_masks_come_through_processes_and_wrappers(space: Any) -> None:
    env = VecNormalize(
        SubprocVecEnv([lambda: ActionMasker(MaskedToy(space), lambda env: env.unwrapped.mask)] * 2, start_method="fork")
    )
    try:
        model = MaskableTRPO("MlpPolicy", env, **SMALL).learn(128)  # the environment refuses what is masked
        assert model._n_updates == 2 and not model._masks.masks.all()  # type: ignore[union-attr]
    finally:
        env.close()


def test_nothing_is_said_of_masks_that_are_used(recwarn: pytest.WarningsRecorder) -> None:
    MaskableTRPO("MlpPolicy", MaskedToy(SPACES["discrete"]), **SMALL).learn(32)
    assert not [warning for warning in recwarn if "mask" in str(warning.message)]


def test_predict_keeps_to_masks(space: Any) -> None:
    model = MaskableTRPO("MlpPolicy", MaskedToy(space), **SMALL)
    rng, begins = np.random.default_rng(0), np.cumsum([0, *sizes(space)[:-1]])
    masks = random_masks(rng, space, 300)
    observations = rng.normal(size=(300, 4)).astype(np.float32)
    for deterministic in (True, False):
        actions, state = model.predict(observations, deterministic=deterministic, action_masks=masks)
        assert state is None and np.take_along_axis(masks, begins + actions.reshape(300, -1).astype(int), axis=1).all()
    single, _ = model.predict(observations[0], action_masks=masks[0])
    assert masks[0][begins + np.atleast_1d(single).astype(int)].all()


def test_masks_for_predict_are_checked() -> None:
    """As those of environments are, and the observation is named."""
    model = MaskableTRPO("MlpPolicy", MaskedToy(SPACES["discrete"]), **SMALL)
    n, observations = sizes(SPACES["discrete"])[0], np.zeros((2, 4), np.float32)
    masks = np.ones((2, n), dtype=bool)
    assert len(model.predict(observations, action_masks=masks.ravel())[0]) == 2  # as MaskablePPO takes them
    masks[1] = False
    with pytest.raises(ValueError, match="action_masks for observation 1 left no outcome of action component 0"):
        model.predict(observations, action_masks=masks)
    with pytest.raises(ValueError, match=rf"action_masks for observation 0 gave an array of shape \({n + 1},\)"):
        model.predict(observations[0], action_masks=np.ones(n + 1))
    with pytest.raises(TypeError, match="use_masking='False' is not a bool"):
        model.learn(32, use_masking="False")  # type: ignore[arg-type]


def test_evaluation_and_its_callback(tmp_path: Any) -> None:
    env, other = (make_vec_env(lambda: MaskedToy(SPACES["discrete"]), 2) for _ in range(2))
    model = MaskableTRPO("MlpPolicy", env, **SMALL)
    callback = MaskableEvalCallback(other, eval_freq=32, n_eval_episodes=4, best_model_save_path=str(tmp_path), verbose=0)
    model.learn(128, callback=callback)
    mean, _ = evaluate_policy(model, other, 4)
    best = MaskableTRPO.load(tmp_path / "best_model", device="cpu")
    assert np.isfinite(mean) and evaluate_policy(best, other, 4)


def test_a_callback_finds_the_masks_that_the_action_was_taken_under(space: Any) -> None:
    class Notes(BaseCallback):
        found: ClassVar[list[np.ndarray]] = []

        def _on_step(self) -> bool:
            self.found.append(self.locals["action_masks"].copy())
            return True

    for policy_kwargs in ({}, {"features_extractor_class": Extractor}):
        Notes.found.clear()
        env = make_vec_env(lambda: MaskedToy(space), 2)
        model = MaskableTRPO("MlpPolicy", env, policy_kwargs=policy_kwargs, **SMALL).learn(64, callback=Notes())
        assert np.array_equal(np.stack(Notes.found), model._masks.masks)  # type: ignore[union-attr]


class Own(MaskableCategoricalDistribution):
    """A distribution that someone has written."""


class OwnPolicy(MaskableActorCriticPolicy):
    def _build(self, lr_schedule: Any) -> None:
        self.action_dist = Own(3)
        super()._build(lr_schedule)


def test_save_load_and_go_on(space: Any, tmp_path: Any) -> None:
    env = make_vec_env(lambda: MaskedToy(space), 2)
    model = MaskableTRPO("MlpPolicy", env, **SMALL).learn(64)
    model.save(tmp_path / "model")
    other = MaskableTRPO.load(tmp_path / "model", env, device="cpu")
    assert same(parameters(model), parameters(other)) and other._masks is None
    assert other.learn(64, reset_num_timesteps=False).num_timesteps == 128


def test_weights_go_both_ways_with_maskable_ppo(space: Any, tmp_path: Any) -> None:
    env = make_vec_env(lambda: MaskedToy(space), 2)
    ppo = MaskablePPO("MlpPolicy", env, n_steps=32, batch_size=32, device="cpu").learn(64)
    ppo.save(tmp_path / "ppo")
    ours = MaskableTRPO("MlpPolicy", env, **SMALL)
    ours.set_parameters(tmp_path / "ppo", device="cpu")
    observations = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    masks = random_masks(np.random.default_rng(1), space, 50)
    for theirs in (ppo, MaskablePPO.load(_saved(ours, tmp_path), env, device="cpu")):
        expected, _ = theirs.predict(observations, deterministic=True, action_masks=masks)
        assert np.array_equal(ours.predict(observations, deterministic=True, action_masks=masks)[0], expected)
    assert theirs.learn(64).num_timesteps == 64
    assert ours.learn(64)._n_updates == 1


def _saved(model: MaskableTRPO, folder: Any) -> Any:
    model.save(folder / "ours")
    return folder / "ours"


def test_a_nan_leaves_the_networks_alone() -> None:
    env = MaskedToy(SPACES["discrete"], faults={7: ("observation", float("nan"))})
    model = MaskableTRPO("MlpPolicy", env, **SMALL)
    before = parameters(model)
    with pytest.warns(RuntimeWarning, match="observations is nan at step 7"):
        model.learn(32)
    assert same(before, parameters(model))
    assert model.learn(32, reset_num_timesteps=False)._n_updates == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"env": ToyEnv()}, "no masks for actions in Box"),
        ({"policy": TRPO.policy_aliases["MlpPolicy"]}, "needs a policy derived from .*MaskableActorCriticPolicy"),
        ({"rollout_buffer_class": type("Own", (MaskableRolloutBuffer,), {})}, "rollout_buffer_class=Own"),
        ({"use_sde": True}, "gSDE"),
        ({"policy": OwnPolicy}, "OwnPolicy has a distribution of its own, Own"),
    ],
)
def test_what_cannot_be_is_refused_at_construction(arguments: dict[str, Any], words: str) -> None:
    given = {"policy": "MlpPolicy", "env": MaskedToy(SPACES["discrete"]), **SMALL, **arguments}
    with pytest.raises(ValueError, match=words):
        MaskableTRPO(**given)


def test_sb3_contribs_buffer_and_policies_may_be_named() -> None:
    env = MaskedToy(SPACES["discrete"])
    model = MaskableTRPO(MaskableActorCriticPolicy, env, rollout_buffer_class=MaskableRolloutBuffer, **SMALL)
    assert model.learn(32)._n_updates == 1


def test_frames_are_kept_once() -> None:
    """The buffer of stacked frames, with masks beside it."""
    pixels = spaces.Box(0, 255, (36, 36, 1), dtype=np.uint8)

    class Pictures(MaskedToy):
        def _observe(self) -> Any:
            super()._observe()
            return self.np_random.integers(0, 256, (36, 36, 1), dtype=np.uint8)

    env = VecFrameStack(make_vec_env(lambda: Pictures(SPACES["discrete"], observation_space=pixels), 2), 4)
    model = MaskableTRPO("CnnPolicy", env, **{**SMALL, "n_steps": 8, "batch_size": 16}).learn(32)
    assert type(model.rollout_buffer) is FrameStackBuffer and model._n_updates == 2


def test_a_model_can_be_copied() -> None:
    model = MaskableTRPO("MlpPolicy", MaskedToy(SPACES["discrete"]), **SMALL).learn(32)
    assert same(parameters(model), {name: value for name, value in deepcopy(model.policy).state_dict().items()})


class FailsOnce(MaskedToy):
    def step(self, action: Any) -> Any:
        if not os.path.exists(FailsOnce.trace):
            open(FailsOnce.trace, "w").close()
            raise ValueError("once")
        return super().step(action)

    trace: ClassVar[str] = ""


def _fails_once(trace: str) -> FailsOnce:
    FailsOnce.trace = trace
    return FailsOnce(spaces.Discrete(3))


def test_the_next_learn_makes_workers_anew(tmp_path: Any) -> None:
    model = MaskableTRPO("MlpPolicy", WorkerVecEnv([partial(_fails_once, str(tmp_path / "trace"))]), **SMALL)
    with pytest.raises(ValueError, match="once"):
        model.learn(32)
    assert model.learn(32).num_timesteps == 32
    model.get_env().close()
