"""MaskableRecurrentTRPO: masks and memory at once."""

from contextlib import nullcontext
from inspect import signature
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torch.distributions import kl_divergence

from sb3_trpo import TRPO, MaskableRecurrentTRPO, MaskableTRPO, RecurrentTRPO
from sb3_trpo.policy import Actor, MaskedStates, Sequences
from sb3_trpo.sampling import Batch, ImportanceSampled
from sb3_trpo.trust_region import flatten
from sb3_trpo.update import PolicyObjective
from sb3_trpo.variants import MaskableEvalCallback, MaskableRecurrentActorCriticPolicy, evaluate_policy
from tests.masked import SPACES, MaskedToy, everything, random_masks, sizes
from tests.recurrent import CUTS, NETWORK, OPTIONS, SMALL, make_path, make_policy
from tests.toys import ToyEnv, parameters, same


def model_of(env: Any, **kwargs: Any) -> MaskableRecurrentTRPO:
    return MaskableRecurrentTRPO("MlpLstmPolicy", env, **{**SMALL, "policy_kwargs": NETWORK, **kwargs})


@pytest.mark.parametrize("cuts", ["in the middle", "of length one"])
@pytest.mark.parametrize("options", ["separate", "two layers"])
def test_kl_and_fisher_product_are_those_of_a_loop_over_valid_actions(space: Any, cuts: str, options: str) -> None:
    """To 1e-9 in double precision; the truth is a categorical over each step's own valid outcomes."""
    policy = make_policy(space, MaskableRecurrentActorCriticPolicy, **OPTIONS[options])
    path = make_path(CUTS[cuts], policy.lstm_actor.num_layers)
    plain = path.sequences()
    masks = th.as_tensor(random_masks(np.random.default_rng(0), space, len(plain)))
    states = Sequences(MaskedStates(plain.source, masks), plain.steps, plain.lengths, plain.begin)
    blocks = sizes(space)

    def call(obs: th.Tensor, carried: Any, start: th.Tensor) -> Any:
        features = policy.features_extractor(obs)
        latent, carried = policy._process_sequence(features, carried, start, policy.lstm_actor)
        return [policy.action_net(policy.mlp_extractor.forward_actor(latent))[0]], carried

    def parts() -> list[Any]:
        made = []
        for (logits,), mask in zip(path.loop(policy, call, path.begin.actor), masks[plain.steps], strict=True):
            pairs = zip(logits.split(blocks), mask.split(blocks), strict=True)
            made += [th.distributions.Categorical(logits=block[inside]) for block, inside in pairs]
        return made

    with th.no_grad():
        old, actions = parts(), states.distribution(policy).sample()
        log_prob = states.distribution(policy).log_prob(actions)
    batch = Batch(states, actions, log_prob, log_prob, log_prob)
    actor = Actor(policy, states)
    objective = PolicyObjective(actor, batch, ImportanceSampled(batch), ent_coef=0.0)

    def mean_kl() -> th.Tensor:
        return th.stack([kl_divergence(p, q) for p, q in zip(old, parts(), strict=True)]).sum() / len(states)

    first = flatten(th.autograd.grad(mean_kl(), actor.parameters, create_graph=True))
    vector = th.randn(len(first), dtype=th.float64)
    hessian = flatten(th.autograd.grad(first @ vector, actor.parameters))
    assert th.allclose(objective.fisher(damping=0.0).product(vector), hessian, rtol=0.0, atol=1e-9)
    theta = actor.theta + 0.1 * vector
    found = objective.evaluate(theta)
    with actor.at(theta), th.no_grad():
        assert float(found.kl.mean()) == pytest.approx(float(mean_kl()), abs=1e-9)


def test_it_learns_and_takes_no_invalid_action(space: Any) -> None:
    """The environment refuses those."""
    model = model_of(make_vec_env(lambda: MaskedToy(space), 2)).learn(192)
    assert model._n_updates == 3 and not model._masks.masks.all()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["discrete", "multi-discrete"])
def test_with_all_actions_valid_the_run_is_recurrent_trpos_bit_for_bit(kind: str) -> None:
    settings = {**SMALL, "policy_kwargs": NETWORK}
    plain = RecurrentTRPO("MlpLstmPolicy", make_vec_env(lambda: ToyEnv(SPACES[kind]), 2, seed=1), **settings).learn(128)
    masked = model_of(make_vec_env(lambda: MaskedToy(SPACES[kind], everything), 2, seed=1)).learn(128)
    assert same(parameters(plain), parameters(masked))


class MaskedCue(gym.Env):
    """The first observation says which of two actions is right at the end. They are possible there alone, elsewhere others.

    Who ignores the masks does nothing right but by chance: an impossible action ends the episode with nothing.
    """

    observation_space, action_space = spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(40)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.cue, self.time = int(self.np_random.integers(2)), 0
        return self._look(2.0 * self.cue - 1.0), {}

    def _look(self, cue: float) -> np.ndarray:
        self.mask = np.zeros(40, dtype=bool)
        self.mask[self.np_random.permutation(38)[:3] + 2 if self.time < 3 else [0, 1]] = True
        return np.array([1.0, cue, self.time == 3], dtype=np.float32)

    def action_masks(self) -> np.ndarray:
        return self.mask

    def step(self, action: Any) -> Any:
        possible, last = self.mask[action], self.time == 3
        self.time += 1
        return self._look(0.0), float(possible and last and action == self.cue), bool(last or not possible), False, {}


def returns(algorithm: Any, policy: str, evaluate: Any) -> float:
    settings: dict[str, Any] = {**SMALL, "n_steps": 64, "batch_size": 128, "learning_rate": 3e-3, "target_kl": 0.05}
    if "Lstm" in policy:
        settings["policy_kwargs"] = NETWORK
    model = algorithm(policy, make_vec_env(MaskedCue, 8, seed=0), **settings).learn(8_000)
    return evaluate(model, make_vec_env(MaskedCue, 4, seed=9), 100)[0]


def test_it_learns_what_neither_part_can() -> None:
    from sb3_contrib.common.maskable.evaluation import evaluate_policy as masked_evaluation
    from stable_baselines3.common.evaluation import evaluate_policy as plain_evaluation

    assert returns(MaskableRecurrentTRPO, "MlpLstmPolicy", evaluate_policy) > 0.95
    assert returns(MaskableTRPO, "MlpPolicy", masked_evaluation) < 0.65  # a half, without the cue
    with pytest.warns(UserWarning, match="MaskableRecurrentTRPO"):
        assert returns(RecurrentTRPO, "MlpLstmPolicy", plain_evaluation) < 0.5  # few episodes get to the end


def test_predict_carries_states_and_keeps_to_masks(space: Any) -> None:
    model = model_of(MaskedToy(space)).learn(32)
    rng, begins = np.random.default_rng(0), np.cumsum([0, *sizes(space)[:-1]])
    state, starts = None, np.ones(50)
    for deterministic in (True, False, True):
        masks = random_masks(rng, space, 50)
        obs = rng.normal(size=(50, 4)).astype(np.float32)
        actions, state = model.predict(obs, state, starts, deterministic, masks)
        assert np.take_along_axis(masks, begins + actions.reshape(50, -1).astype(int), axis=1).all()
        starts = np.zeros(50)
    assert np.abs(state[0]).max() > 0.0  # type: ignore[index]


def test_save_load_evaluate_and_go_on(tmp_path: Any) -> None:
    env, other = (make_vec_env(lambda: MaskedToy(SPACES["discrete"]), 2) for _ in range(2))
    model = model_of(env)
    model.learn(128, callback=MaskableEvalCallback(other, eval_freq=32, n_eval_episodes=2, best_model_save_path=str(tmp_path)))
    loaded = MaskableRecurrentTRPO.load(tmp_path / "best_model", env, device="cpu")
    assert loaded.learn(64, reset_num_timesteps=False)._n_updates >= 1
    assert np.isfinite(evaluate_policy(loaded, other, 4)[0])


def test_callbacks_of_an_evaluation_have_the_model_itself() -> None:
    class Change(BaseCallback):
        def _on_step(self) -> bool:
            self.model.target_kl = 0.001  # type: ignore[attr-defined]
            return True

    env, other = (make_vec_env(lambda: MaskedToy(SPACES["discrete"]), 1) for _ in range(2))
    model = model_of(env)
    evaluation = MaskableEvalCallback(other, eval_freq=16, n_eval_episodes=1, callback_after_eval=Change())
    model.learn(32, callback=evaluation)
    assert evaluation.model is model and model.target_kl == 0.001


def test_evaluation_without_masks_is_refused_unless_they_are_not_wanted() -> None:
    model, env = model_of(MaskedToy(SPACES["discrete"])), make_vec_env(lambda: ToyEnv(SPACES["discrete"]), 1)
    with pytest.raises(ValueError, match=r"no method action_masks.*evaluate with use_masking=False"):
        evaluate_policy(model, env, 1)
    assert np.isfinite(evaluate_policy(model, env, 1, use_masking=False)[0])
    for use_masking in (True, False):
        callback = MaskableEvalCallback(env, eval_freq=16, n_eval_episodes=1, use_masking=use_masking)
        with pytest.raises(ValueError, match="no method action_masks") if use_masking else nullcontext():
            model.learn(32, callback=callback)


@pytest.mark.parametrize("algorithm", [TRPO, MaskableTRPO, RecurrentTRPO, MaskableRecurrentTRPO])
def test_each_has_its_own_name_in_tensorboard(algorithm: type) -> None:
    assert signature(algorithm.learn).parameters["tb_log_name"].default == algorithm.__name__  # type: ignore[attr-defined]


def test_weights_of_recurrent_ppo_are_taken_over(tmp_path: Any) -> None:
    env = MaskedToy(SPACES["discrete"])
    RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=NETWORK, device="cpu").save(tmp_path / "ppo")
    model = model_of(env)
    model.set_parameters(tmp_path / "ppo", device="cpu")
    assert model.learn(32)._n_updates == 1


def test_other_policies_and_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"derived from .*MaskableRecurrentActorCriticPolicy"):
        MaskableRecurrentTRPO(RecurrentTRPO.policy_aliases["MlpLstmPolicy"], MaskedToy(SPACES["discrete"]), **SMALL)
    with pytest.raises(ValueError, match="no masks for actions in Box"):
        model_of(ToyEnv())
