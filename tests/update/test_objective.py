"""The promise: the joint KL of every update is within target_kl, is what is logged, and nothing else moves the policy."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from sb3_trpo import TRPO
from sb3_trpo.policy import Actor
from sb3_trpo.sampling import Batch, ImportanceSampled, Samples
from sb3_trpo.update import PolicyObjective, Step
from tests.toys import BOX_ACTIONS, DICT_OBSERVATIONS, ToyEnv, buffer_observations, joint_kl, parameters, same, snapshot

SMALL = {"n_steps": 256, "batch_size": 64, "device": "cpu", "seed": 0}
CASES = {
    "Box(6)": (ToyEnv(spaces.Box(-1.0, 1.0, (6,))), {}),
    "gSDE(3)": (ToyEnv(BOX_ACTIONS), {"use_sde": True}),
    "squashed gSDE(3)": (ToyEnv(BOX_ACTIONS), {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    "Discrete": (ToyEnv(spaces.Discrete(4)), {}),
    "MultiDiscrete": (ToyEnv(spaces.MultiDiscrete([3, 2, 4])), {}),
    "MultiBinary": (ToyEnv(spaces.MultiBinary(5)), {}),
    "Dict": (ToyEnv(BOX_ACTIONS, DICT_OBSERVATIONS), {"n_steps": 64}),
    "separate extractors": (ToyEnv(BOX_ACTIONS), {"policy_kwargs": {"share_features_extractor": False}}),
    "entropy bonus": (ToyEnv(BOX_ACTIONS), {"ent_coef": 0.01}),
    "Monte Carlo": (ToyEnv(spaces.Discrete(4)), {"advantage_estimator": "monte_carlo"}),
    "Fisher on a tenth": (ToyEnv(BOX_ACTIONS), {"fisher_sample_fraction": 0.1, "n_steps": 1024}),
    "sub-sampled": (ToyEnv(BOX_ACTIONS), {"sub_sampling_factor": 2}),
}


class Drawing(TRPO):
    """Keeps the states that an update uses: a random share of the rollout, if it is told so."""

    def _find_step(self, objective: PolicyObjective) -> Step:
        self.drawn = objective.batch.observations
        return super()._find_step(objective)


@pytest.mark.parametrize("case", CASES)
def test_every_update_keeps_the_joint_kl(case: str) -> None:
    """Ten updates, on the states that were used: KL recomputed with PyTorch's divergences, in single precision, ≤ 1.001 δ;
    equal to the log to 2e-4; ≥ 0.3 δ on most.
    """
    env, kwargs = CASES[case]
    policy = "MultiInputPolicy" if case == "Dict" else "MlpPolicy"
    model = Drawing(policy, env, **{**SMALL, **kwargs})
    kls = []
    for _ in range(10):
        before = snapshot(model)
        model.learn(model.n_steps, reset_num_timesteps=False)
        used = buffer_observations(model) if model.sub_sampling_factor == 1 else model.drawn
        kl = float(joint_kl(before, model.policy, used).mean())
        kls.append(kl)
        assert kl <= 0.01001
        assert model.logger.name_to_value["train/kl_divergence_loss"] == pytest.approx(kl, abs=2e-4)
        assert model.last_update["train/status"] == "ok"
    assert np.mean(np.array(kls) >= 0.003) > 0.5


def test_updates_improve_the_policy() -> None:
    """Forty updates raise the mean reward of a random task well above the untrained policy's."""
    model = TRPO("MlpPolicy", ToyEnv(spaces.Discrete(4)), **SMALL)
    model.learn(256)
    before = np.mean([episode["r"] for episode in model.ep_info_buffer])
    model.learn(40 * 256, reset_num_timesteps=False)
    assert np.mean([episode["r"] for episode in model.ep_info_buffer]) > before + 5.0


def _extractor(layer: str) -> type[BaseFeaturesExtractor]:
    class Extractor(BaseFeaturesExtractor):
        def __init__(self, observation_space: spaces.Box):
            super().__init__(observation_space, features_dim=8)
            setattr(self, layer, nn.Linear(4, 8))

        def forward(self, observations: th.Tensor) -> th.Tensor:
            return th.tanh(getattr(self, layer)(observations))

    return Extractor


def test_names_play_no_part() -> None:
    """A shared layer called value_encoder trains to the same parameters, bit for bit, as one called encoder."""
    models = [
        TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": _extractor(layer)}, **SMALL).learn(512)
        for layer in ("encoder", "value_encoder")
    ]
    plain, named = (model.policy.state_dict() for model in models)
    assert all(th.equal(plain[name.replace("value_encoder", "encoder")], named[name]) for name in named)


class NoisyExtractor(BaseFeaturesExtractor):
    """Batch norm, dropout and a detached layer: everything through which a critic could move the policy unseen."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, features_dim=8)
        self.norm, self.seen, self.unseen, self.dropout = nn.BatchNorm1d(4), nn.Linear(4, 8), nn.Linear(4, 8), nn.Dropout(0.5)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        x = self.norm(observations)
        return self.dropout(th.tanh(self.seen(x) + self.unseen(x).detach()))


def test_critic_moves_nothing_the_policy_depends_on() -> None:
    """The policy is the same function, to the bit, before and after the critic's fit; the critic is another."""
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": NoisyExtractor}, **SMALL)
    model.learn(256)
    model.policy.set_training_mode(False)
    observations = buffer_observations(model)
    model.n_critic_updates = 0
    silent = deepcopy(model)
    silent.train()
    model.n_critic_updates = 5
    th.manual_seed(0)
    model.train()
    model.policy.set_training_mode(False)
    means = [one.policy.get_distribution(observations).distribution.mean.clone() for one in (silent, model)]
    values = [one.policy.predict_values(observations) for one in (silent, model)]
    assert th.equal(*means) and not th.equal(*values)


def test_running_statistics_that_stay_are_reported() -> None:
    """A user who normalises over batches learns that it does not, and what to do."""
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": NoisyExtractor}, **SMALL)
    with pytest.warns(RuntimeWarning, match="batch normalisation.*VecNormalize"):
        model.learn(256)


class AttentiveExtractor(BaseFeaturesExtractor):
    """Attention of the observation's numbers to each other, for which PyTorch has a kernel with one derivative only."""

    def __init__(self, observation_space: spaces.Space):
        super().__init__(observation_space, features_dim=8)
        self.embed, self.attention = nn.Linear(1, 8), nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.attention(self.embed(observations[..., None])).mean(dim=1)


def test_attention_can_be_differentiated_twice() -> None:
    """One update: accepted, and its KL by PyTorch's divergences within the bound."""
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": AttentiveExtractor}, **SMALL)
    before = snapshot(model)
    model.learn(256)
    assert model.last_update["train/status"] == "ok"
    kl = float(joint_kl(before, model.policy, buffer_observations(model)).mean())
    assert 0.003 < kl <= 0.01001


def test_dropout_does_not_widen_the_trust_region() -> None:
    """The step is taken in eval mode: with dropout the KL measured from outside is still the logged one."""
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": NoisyExtractor}, **SMALL)
    before = snapshot(model)
    model.learn(256)
    model.policy.set_training_mode(False)
    kl = float(joint_kl(before, model.policy, buffer_observations(model)).mean())
    assert kl == pytest.approx(model.logger.name_to_value["train/kl_divergence_loss"], abs=1e-5)


def test_refused_step_leaves_the_actor_bit_identical() -> None:
    """When no candidate is good enough nothing is written, the reason is logged, and the log tells of the policy kept."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, n_critic_updates=0)
    model.learn(256)
    before = parameters(model)
    model.line_search_shrinking_factor, model.line_search_max_iter = 0.999999, 1
    model.target_kl = 1e6  # the step goes so far that the surrogate cannot improve
    model.cg_damping = 1e-12
    model.train()
    log = model.last_update
    assert log["train/status"] != "ok"
    assert same(before, parameters(model))
    assert log["train/kl_divergence_loss"] == 0.0 and log["train/step_size"] == 0.0 and log["train/actual_improvement"] == 0.0
    assert log["train/is_line_search_success"] == 0.0


def test_zero_gradient_is_a_reason_of_its_own() -> None:
    """Equal rewards give no gradient: nothing moves, and the log says so."""
    model = TRPO("MlpPolicy", ToyEnv(), **SMALL, n_critic_updates=0)
    model.learn(256)
    before = parameters(model)
    model.rollout_buffer.advantages[:] = 0.0
    model.train()
    assert model.last_update["train/status"] == "zero gradient"
    assert same(before, parameters(model))


def test_entropy_bonus_keeps_the_policy_broad() -> None:
    """A strong bonus leaves more entropy than none, on the same task and seed."""
    entropies = []
    for ent_coef in (0.0, 1.0):
        model = TRPO("MlpPolicy", ToyEnv(), **SMALL, ent_coef=ent_coef).learn(10 * 256)
        entropies.append(-model.logger.name_to_value["train/entropy_loss"])
    assert entropies[1] > entropies[0] + 0.1


def test_chunks_change_nothing_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch worked through in chunks of a few rows takes the same step, to float32 rounding (1e-4 relative)."""
    steps = []
    for activations in (2**23, 2**12):
        monkeypatch.setattr("sb3_trpo.policy.actor.CHUNK_ACTIVATIONS", activations)
        model = TRPO("MlpPolicy", ToyEnv(), **SMALL, n_critic_updates=0)
        before = nn.utils.parameters_to_vector(model.policy.parameters()).detach()
        model.learn(256)
        steps.append(nn.utils.parameters_to_vector(model.policy.parameters()).detach() - before)
    assert float((steps[0] - steps[1]).norm() / steps[0].norm()) < 1e-4


def test_custom_policy_is_found_by_its_graph() -> None:
    """Actor parameters of a policy with its own layout are those its distribution's gradient reaches."""
    policy = ActorCriticPolicy(ToyEnv().observation_space, BOX_ACTIONS, lambda _: 1e-3)
    actor = Actor(policy, th.zeros(1, 4))
    named = {name for name, value in policy.named_parameters() if any(value is p for p in actor.parameters)}
    assert named == {name for name, _ in policy.named_parameters() if "value" not in name}


def _products(
    policy: ActorCriticPolicy, observations: th.Tensor, monkeypatch: pytest.MonkeyPatch
) -> tuple[th.Tensor, th.Tensor]:
    """J v as the actor takes it, and by autograd."""
    actor = Actor(policy, observations)
    vector = th.randn(len(actor.theta), generator=th.Generator().manual_seed(0))
    chosen = actor.linearize(observations)[0].jvp(vector)
    monkeypatch.setattr(actor, "_chain", None)
    return [chosen, actor.linearize(observations)[0].jvp(vector)]


def test_linearisation_is_that_of_the_policy_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unnormalised pictures, a patched get_distribution, hooks and patches in an extractor: autograd's, to 1e-5 relative."""
    image = spaces.Box(0, 255, (1, 8, 8), dtype=np.uint8)
    unnormalised = ActorCriticPolicy(image, BOX_ACTIONS, lambda _: 1e-3, normalize_images=False, net_arch=[8])
    pixels = th.randint(0, 256, (5, 1, 8, 8), dtype=th.uint8)
    patched = ActorCriticPolicy(ToyEnv().observation_space, BOX_ACTIONS, lambda _: 1e-3)
    own = patched.get_distribution
    patched.get_distribution = lambda observations: own(3.0 * observations)  # type: ignore[method-assign]
    cases: list[tuple[ActorCriticPolicy, th.Tensor]] = [(unnormalised, pixels), (patched, th.randn(5, 4))]
    for change in ("normalize_images", "hook", "forward"):
        large = spaces.Box(0, 255, (1, 36, 36), dtype=np.uint8)
        cnn = ActorCriticCnnPolicy(large, BOX_ACTIONS, lambda _: 1e-3, normalize_images=change != "normalize_images")
        extractor = cnn.pi_features_extractor
        if change == "hook":
            extractor.linear.register_forward_hook(lambda module, inputs, output: 3.0 * output.sin())
        elif change == "forward":
            extractor.forward = lambda x, own=extractor: own.linear(own.cnn(x)).sin()  # type: ignore[method-assign]
        cases.append((cnn, th.randint(0, 256, (5, 1, 36, 36), dtype=th.uint8)))
    for policy, observations in cases:
        chosen, autograd = _products(policy.eval(), observations, monkeypatch)
        assert float((chosen - autograd).norm() / autograd.norm()) < 1e-5


def test_a_policy_that_acts_otherwise_than_it_is_optimised_is_reported() -> None:
    """forward overridden without get_distribution: a warning that says which method is missing."""

    class Split(ActorCriticPolicy):
        def extract_features(self, obs: th.Tensor, features_extractor: BaseFeaturesExtractor | None = None) -> th.Tensor:
            return 5.0 * super().extract_features(obs, features_extractor)

    with pytest.warns(RuntimeWarning, match="must override get_distribution too"):
        TRPO(Split, ToyEnv(), **SMALL, policy_kwargs={"ortho_init": False}).learn(256)


def test_a_sampled_fisher_matrix_still_spends_the_whole_region() -> None:
    """With the Fisher matrix of a tenth of the states, ½ stepᵀ(F + λI)step = δ for the F of all, to 1e-4 relative."""
    model = TRPO("MlpPolicy", ToyEnv(), n_steps=1024, device="cpu", seed=0, fisher_sample_fraction=0.1, n_critic_updates=0)
    before = snapshot(model)
    model.learn(1024)
    samples = Samples.from_buffer(model.rollout_buffer)
    batch = Batch.from_samples(samples, 1, True)
    objective = PolicyObjective(Actor(before, batch.observations), batch, ImportanceSampled(batch), 0.0)
    step = Actor(model.policy, batch.observations).theta - objective.actor.theta
    assert model.logger.name_to_value["train/backtracks"] == 0
    assert 0.5 * objective.fisher(0.1).quadratic_form(step) == pytest.approx(0.01, rel=1e-4)


class PlainExtractor(BaseFeaturesExtractor):
    """Two layers, in whatever precision the policy has."""

    def __init__(self, observation_space: spaces.Space):
        super().__init__(observation_space, features_dim=8)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.net(observations.to(self.net[0].weight.dtype))


class CompiledExtractor(PlainExtractor):
    def __init__(self, observation_space: spaces.Space):
        super().__init__(observation_space)
        self.net = th.compile(self.net, backend="aot_eager")  # refuses to be differentiated twice, as the default does

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.net(observations)


def _compile_nothing(policy: Any) -> None: ...


def _compile_the_network(policy: Any) -> None:
    policy.mlp_extractor.policy_net = th.compile(policy.mlp_extractor.policy_net, backend="aot_eager")


def _compile_in_place(policy: Any) -> None:
    policy.mlp_extractor.compile(backend="aot_eager")


def _compile_a_method(policy: Any) -> None:
    policy.get_distribution = th.compile(policy.get_distribution, backend="aot_eager")


@pytest.mark.parametrize(
    ("compiled", "sampling"),
    [
        (_compile_nothing, "vine"),
        (_compile_the_network, "single_path"),
        (_compile_in_place, "single_path"),
        (_compile_a_method, "single_path"),
    ],
)
def test_what_is_compiled_is_differentiated_as_it_was_written(compiled: Any, sampling: str) -> None:
    """The step is that of the policy before it was compiled, up to rounding; a rollout may still run what was compiled."""
    extractor = CompiledExtractor if compiled is _compile_nothing else PlainExtractor
    settings = {**SMALL, "n_steps": 64, "sampling": sampling, "vine_kwargs": {"n_states": 4} if sampling == "vine" else None}
    plain = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": PlainExtractor}, **settings).learn(64)
    model = TRPO("MlpPolicy", ToyEnv(), policy_kwargs={"features_extractor_class": extractor}, **settings)
    compiled(model.policy)
    model.learn(64)
    assert model.last_update["train/status"] == "ok"
    for key in ("train/kl_divergence_loss", "train/step_size", "train/actual_improvement"):
        assert model.last_update[key] == pytest.approx(plain.last_update[key], rel=1e-3), key
    for left, right in zip(model.policy.parameters(), plain.policy.parameters(), strict=True):
        th.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("actions", "sampling"), [(BOX_ACTIONS, "single_path"), (BOX_ACTIONS, "vine"), (spaces.MultiBinary(3), "single_path")]
)
def test_half_precision(actions: spaces.Space, sampling: str) -> None:
    """Sums over samples and parameters are in single precision: the step is that of a policy in single, as half allows."""
    settings = {**SMALL, "n_steps": 64, "sampling": sampling, "vine_kwargs": {"n_states": 4} if sampling == "vine" else None}
    steps = []
    for precision in (th.float32, th.float16):
        policy_kwargs = {"features_extractor_class": PlainExtractor}
        model = TRPO("MlpPolicy", ToyEnv(actions), policy_kwargs=policy_kwargs, n_critic_updates=0, **settings)
        model.policy.half().to(precision)
        before = parameters(model)
        model.learn(64)
        assert model.last_update["train/status"] == "ok"
        assert 0.003 < model.last_update["train/kl_divergence_loss"] <= 0.01
        moved = [(value - before[name]).float().flatten() for name, value in model.policy.state_dict().items()]
        steps.append(th.cat(moved))
        model.n_critic_updates = 1
        model.learn(64)
        assert all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())
    assert float(th.cosine_similarity(*steps, dim=0)) > 0.98


class OfTheBatch(PlainExtractor):
    """Normalises with the batch at hand; one row alone is an error."""

    def __init__(self, observation_space: spaces.Space):
        super().__init__(observation_space)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False))


class Endless(ToyEnv):
    """Without a time limit, whose last observation is evaluated alone."""

    def step(self, action: Any) -> Any:
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, truncated, False, info


@pytest.mark.parametrize("sampling", ["single_path", "vine"])
def test_batch_normalisation_without_running_statistics_trains_with_a_warning(sampling: str) -> None:
    """As PPO trains with it. The warning says that what acts is not what is optimised, and names the cure."""
    env = DummyVecEnv([Endless] * 4)
    settings = {**SMALL, "n_steps": 64, "sampling": sampling, "vine_kwargs": {"n_states": 4} if sampling == "vine" else None}
    model = TRPO("MlpPolicy", env, policy_kwargs={"features_extractor_class": OfTheBatch}, **settings)
    with pytest.warns(RuntimeWarning, match="track_running_stats=False.*VecNormalize") as warned:
        model.learn(256)
    assert not any("forward" in str(warning.message) for warning in warned)
    assert model.last_update["train/status"] == "ok" and model.last_update["train/kl_divergence_loss"] <= model.target_kl
