"""The vine where some actions are impossible: they are never tried, and have no part in what is learned."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import TimeLimit
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_trpo import TRPO, MaskableTRPO
from sb3_trpo.policy import Actor
from sb3_trpo.ranks import ALONE
from sb3_trpo.restarts import explore
from sb3_trpo.simulators import check_clone
from sb3_trpo.trust_region import flatten
from tests.masked import SPACES, Cells, MaskedToy, everything, sizes
from tests.sampling.vine.test_surrogate import Tabular
from tests.toys import DICT_OBSERVATIONS, ToyEnv, parameters, same
from tests.vines import SMALL, VINE


def masked_model(env: Any, policy: str = "MlpPolicy", **settings: Any) -> MaskableTRPO:
    return MaskableTRPO(policy, env, **{**SMALL, "sampling": "vine", "vine_kwargs": VINE, "device": "cpu", **settings})


@pytest.mark.parametrize("kind", ["discrete", "multi-discrete"])
@pytest.mark.parametrize("branches", [3, "all"])
def test_with_all_actions_possible_the_run_is_trpos_bit_for_bit(kind: str, branches: Any) -> None:
    models = []
    for algorithm, make in ((TRPO, ToyEnv), (MaskableTRPO, lambda space: MaskedToy(space, everything))):
        settings = {**SMALL, "sampling": "vine", "vine_kwargs": {**VINE, "branches_per_state": branches}}
        env = make_vec_env(lambda make=make: make(SPACES[kind]), 2, seed=5)
        models.append(algorithm("MlpPolicy", env, ent_coef=0.01, device="cpu", **settings).learn(900))
    first, second = models
    assert first._n_updates > 1 and first.num_timesteps == second.num_timesteps
    assert same(parameters(first), parameters(second))


@pytest.mark.parametrize("branches", [3, "all"])
def test_impossible_actions_are_neither_tried_nor_taken_later(space: Any, branches: Any) -> None:
    """The environment refuses them. Branches and their steps are counted by hand."""
    options = {"n_states": 20, "branches_per_state": branches, "branch_length": 4}
    model = masked_model(make_vec_env(lambda: MaskedToy(space), 2, seed=1), n_steps=40, batch_size=80, vine_kwargs=options)
    for _ in range(3):
        before = model.num_timesteps
        model.learn(1, reset_num_timesteps=False)
        grown, masks = model._experience, model._masks.masks
        tried = 0
        for step, env in grown.places:
            blocks = np.split(masks[step, env], np.cumsum(sizes(space))[:-1])
            actions = np.prod([block.sum() for block in blocks]) if branches == "all" else 3
            tried += actions * min(4, 10 - step % 10)
        assert model.num_timesteps - before == 80 + tried == 80 + grown.steps
    assert model.last_update["train/kl_divergence_loss"] <= 0.01001


@pytest.mark.parametrize("case", ["Dict", "VecNormalize", "ActionMasker"])
def test_workers_give_what_one_process_gives(case: str) -> None:
    def make() -> gym.Env:
        env = MaskedToy(SPACES["multi-discrete"], **({"observation_space": DICT_OBSERVATIONS} if case == "Dict" else {}))
        return (
            ActionMasker(TimeLimit(env, 8), lambda layers: layers.unwrapped.action_masks()) if case == "ActionMasker" else env
        )

    results = []
    for n_workers in (0, 2):
        env: Any = DummyVecEnv([make, make])
        env = VecNormalize(env) if case == "VecNormalize" else env
        policy = "MultiInputPolicy" if case == "Dict" else "MlpPolicy"
        model = masked_model(env, policy, vine_kwargs={**VINE, "n_workers": n_workers}, policy_kwargs=None)
        results.append(parameters(model.learn(200)))
        model.close_vine()
    assert same(*results)


class MaskedTabular(Tabular):
    """Six states, three actions, of which one is impossible in state 1, and two in state 4."""

    POSSIBLE = np.ones((6, 3), dtype=bool)
    POSSIBLE[1, 0] = POSSIBLE[4, 0] = POSSIBLE[4, 2] = False

    def action_masks(self) -> np.ndarray:
        return self.POSSIBLE[self.state]

    def step(self, action: int) -> Any:
        assert self.POSSIBLE[self.state, action]
        return super().step(action)


@pytest.mark.parametrize("branches", ["all", 2])
def test_the_values_of_branches_are_those_of_the_mdp(branches: Any) -> None:
    """Q̂ of every possible action averages to Q under the masked policy, found by dynamic programming: |z| < 4 in each pair."""
    horizon, gamma = 4, 0.9
    options = {"n_states": 60, "branch_length": horizon, "bootstrap": False, "branches_per_state": branches}
    env = TimeLimit(MaskedTabular(), 50)
    model = masked_model(env, n_steps=120, batch_size=60, gamma=gamma, vine_kwargs=options)
    model.train = lambda: None
    possible, inner = MaskedTabular.POSSIBLE, env.unwrapped
    with th.no_grad():
        policy = model.policy.get_distribution(th.eye(6), action_masks=possible).distribution.probs.numpy()
    assert (policy[~possible] == 0.0).all()
    q_values = inner.q_values(policy, horizon, gamma)

    errors: dict[tuple[int, int], list[float]] = {}
    for _ in range(40):
        model.learn(1, reset_num_timesteps=False)
        vine = model._experience
        late = np.array([step % 50 for step, _ in vine.places]) > 50 - horizon
        states = vine.observations.observations.argmax(1).numpy()
        actions, values = vine.tried.actions.numpy(), vine.q_values.numpy()
        tried = np.ones_like(values, dtype=bool) if vine.tried.possible is None else vine.tried.possible.numpy()
        for state, action in np.argwhere(possible):
            at = tried & (states == state)[:, None] & ~late[:, None] & (actions == action)
            if at.any():
                errors.setdefault((state, action), []).append(values[at].mean() - q_values[state, action])
        if branches == 2:
            assert np.allclose(vine.tried.log_proposal.exp().numpy()[:, 0], 1 / possible[states].sum(1))
    scores = [np.mean(found) / (np.std(found, ddof=1) / len(found) ** 0.5) for found in errors.values()]
    assert len(scores) == 15 and max(map(abs, scores)) < 4.0
    assert np.mean(np.square(scores)) < 1.0 + 3.0 * (2.0 / 15) ** 0.5


@pytest.mark.parametrize("normalize", [False, True])
def test_the_gradient_is_that_of_possible_actions_alone(space: Any, normalize: bool) -> None:
    """Of L = Σ π(a|s) (Q̂ − mean) over possible actions: a loop over states, with softmaxes over the possible logits alone."""
    options = {"n_states": 16, "branches_per_state": "all", "branch_length": 3}
    model = masked_model(MaskedToy(space), vine_kwargs=options)
    model.train = lambda: None
    model.learn(1)
    grown, policy = model._experience, model.policy
    actor = Actor(policy, grown.observations)
    given = grown.tried
    terms = list(grown.surrogate(None, normalize, ALONE).branch_terms(actor))
    found = flatten(th.autograd.grad(sum(terms), actor.parameters))

    states = grown.observations
    logits = policy.action_net(policy.mlp_extractor.forward_actor(policy.extract_features(states.observations)))
    expected, differences = 0.0, []
    for row in range(16):
        blocks = zip(logits[row].split(sizes(space)), states.masks[row].split(sizes(space)), strict=True)
        log_probs = [logit.where(mask, th.tensor(-th.inf)).log_softmax(0) for logit, mask in blocks]
        tried = [k for k in range(given.shape[1]) if given.possible is None or given.possible[row, k]]
        values = grown.q_values[row, tried] - grown.q_values[row, tried].mean()
        differences.append(values)
        for k, value in zip(tried, values, strict=True):
            parts = given.actions[row, k].reshape(-1).long()
            expected = expected + sum(lp[i] for lp, i in zip(log_probs, parts, strict=True)).exp() * value / 16
    assert given.possible is not None and len(th.cat(differences)) < given.possible.numel()
    if normalize:
        every = th.cat(differences)
        # Bessel's correction counts all K actions of a state
        deviation = (every.square().sum() / len(every) * given.possible.numel() / (given.possible.numel() - 1)).sqrt()
        expected = expected / deviation
    truth = flatten(th.autograd.grad(expected, actor.parameters))
    assert th.allclose(found, truth, rtol=1e-4, atol=1e-6 * float(truth.abs().max()))


def test_a_mask_that_leaves_nothing_in_a_branch() -> None:
    env = MaskedToy(SPACES["discrete"], lambda env: np.full(5, env.time < 6))
    model = masked_model(env, n_steps=4, batch_size=4, vine_kwargs={**VINE, "n_states": 4, "branch_length": 9})
    with pytest.raises(ValueError, match=r"an environment at step [2-6] of a branch left no outcome of action component 0"):
        model.learn(1)


POSSIBLE = np.ones(5, dtype=bool)


def test_a_mask_that_is_no_part_of_the_state() -> None:
    """A module's variable that changes during the rollout, so that the mask of a saved state is another afterwards."""
    POSSIBLE[:] = True

    def forbid(given: dict[str, Any], _: Any) -> bool:
        POSSIBLE[3] = given["n_steps"] < 30
        return True

    model = masked_model(MaskedToy(SPACES["discrete"], lambda _: POSSIBLE.copy()))
    with pytest.raises(RuntimeError, match="gave another mask where a branch begins"):
        model.learn(1, forbid)


def test_a_mask_that_a_check_finds_to_be_no_part_of_the_state() -> None:
    class Counting(MaskedToy):
        asked = 0

        def action_masks(self) -> np.ndarray:
            type(self).asked += 1
            return np.arange(5) != type(self).asked % 5

    model = masked_model(Counting(SPACES["discrete"], everything))
    with pytest.raises(ValueError, match="gave another mask of actions at step 0"):
        model.learn(1)


def test_a_mask_of_another_size_is_refused_as_a_mask() -> None:
    model = masked_model(MaskedToy(SPACES["discrete"], lambda _: [True, True]))
    with pytest.raises(ValueError, match=r"action_masks\(\) of environment 0 gave an array of shape \(2,\)"):
        model.learn(1)


class Listing(Cells):
    """Lists what is possible when it is asked, and steps by that list."""

    listed: Any = None

    def action_masks(self) -> np.ndarray:
        self.listed = np.flatnonzero(self.mask)
        return self.mask

    def step(self, action: Any) -> Any:
        assert action in self.listed
        self.listed = None
        return super().step(action)


def test_masks_are_asked_for_before_every_step_wherever_it_is_taken() -> None:
    """In the trunk, in branches, in branches taken again, in checks, and on the ways that an exploration goes again."""
    assert check_clone(Listing()).exact
    found = explore(Listing(), 300)
    assert found.trajectory(Listing()).starts
    for n_workers in (0, 1):
        model = masked_model(Listing(), vine_kwargs={**VINE, "n_workers": n_workers})
        assert model.learn(200)._n_updates > 1
        model.close_vine()


def test_without_masking_all_actions_are_tried() -> None:
    env = MaskedToy(SPACES["discrete"], lambda _: np.arange(5) < 2)
    model = masked_model(env, vine_kwargs={**VINE, "branches_per_state": "all"})
    model.learn(1)
    assert model._experience.tried.possible.sum() == 6 * 2
    model.learn(1, use_masking=False)
    assert model._experience.tried.possible is None and len(model._experience.q_values[0]) == 5


def test_states_are_checked_and_explored_with_possible_actions() -> None:
    assert check_clone(Cells()).exact
    Cells.count = 0
    assert explore(Cells(), 500, repeat=0.5).steps == Cells.count == 500


def test_save_load_and_go_on(tmp_path: Any) -> None:
    env = make_vec_env(lambda: MaskedToy(SPACES["discrete"]), 2, seed=0)
    model = masked_model(env).learn(100)
    model.save(tmp_path / "model")
    loaded = MaskableTRPO.load(tmp_path / "model", env)
    before = parameters(loaded)
    assert same(before, parameters(model)) and not same(before, parameters(loaded.learn(100)))
