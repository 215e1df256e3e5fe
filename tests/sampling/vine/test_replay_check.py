"""What differs between processes: sent to those that run branches, or refused by name; never another policy or world."""

import os
import sys
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.envs.classic_control import PendulumEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_trpo import TRPO
from sb3_trpo.simulators import CloneableEnv
from tests.vines import VINE, model

PRIZE = 1.0  # set by scripts; found by name in every process


class World(gym.Env):
    """What it pays and shows depends on ``kind``, which names something that a process has to itself."""

    observation_space = spaces.Box(-2.0, 2.0, (2,))
    action_space = spaces.Discrete(2)
    prize = 1.0
    length = 8

    def __init__(self, kind: str = "none"):
        self.kind = kind

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def _factor(self) -> float:
        if self.kind == "global":
            return PRIZE
        if self.kind == "class":
            return type(self).prize
        if self.kind == "environment":
            return float(os.environ.get("TEST_PRIZE", "1.0"))
        if self.kind == "directory":
            return float(os.path.exists("prize"))
        return 1.0

    def _observe(self) -> np.ndarray:
        seen = list({"left", "right", "up", "down"}).index("left") if self.kind == "hash" else 0.0
        return np.array([self.np_random.uniform(), 0.25 * seen], np.float32)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.time += 1
        late = self.kind == "late" and self.time > 2
        terminated = self.kind == "ends" and self.time == int(4 * PRIZE)
        reward = float(action) * self._factor() if self.kind != "late" else PRIZE * float(late)
        return self._observe(), reward, terminated, self.time == self.length, {}


class Parts(World):
    observation_space = spaces.Dict({"left": spaces.Box(-2.0, 2.0, (2,)), "right": spaces.Discrete(9)})  # type: ignore[assignment]

    def _observe(self) -> Any:
        return {"left": super()._observe(), "right": int(4 * PRIZE)}


def trained(trpo: TRPO, rollouts: int = 2) -> list[th.Tensor]:
    """Returns of the branches of every rollout."""
    returns = []
    try:
        for _ in range(rollouts):
            trpo.learn(1, reset_num_timesteps=False)
            assert trpo._experience is not None
            returns.append(trpo._experience.q_values)
    finally:
        trpo.close_vine()
    return returns


def assert_workers_agree(make: Any, rollouts: int = 2) -> None:
    here, there = (trained(make(n_workers), rollouts) for n_workers in (0, 1))
    assert all(map(th.equal, here, there))


def vine(n_workers: int) -> dict[str, Any]:
    return {**VINE, "branches_per_state": 2, "n_workers": n_workers}


class Warm(ActorCriticPolicy):
    """Divides its logits by a plain attribute, of itself or of a module."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.temperature, self.action_net.temperature = 1.0, 1.0
        self.scales = {"list": [1.0]}

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Any:
        factor = (
            self.temperature * self.action_net.temperature * self.scales["list"][0] * getattr(self.action_dist, "warmth", 1.0)
        )
        return self.action_dist.proba_distribution(self.action_net(latent_pi) / factor)


class Cooling(BaseCallback):
    """Changes an attribute before every rollout."""

    def __init__(self, change: str):
        super().__init__()
        self.change, self.factor = change, 1.0

    def _on_rollout_start(self) -> None:
        policy = self.model.policy
        self.factor *= 0.01
        if self.change == "policy":
            policy.temperature = self.factor
        elif self.change == "module":
            policy.action_net.temperature = self.factor
        elif self.change == "inside":
            policy.scales["list"][0] = self.factor
        else:
            policy.action_dist.warmth = self.factor

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("change", ["policy", "module", "inside", "action_dist"])
def test_attributes_of_the_policy_are_sent(change):
    """Truth: the branches of one process. The policy has no other difference than the attribute."""
    runs = []
    for n_workers in (0, 1):
        trpo = model("Acrobot-v1", Warm, vine_kwargs={**VINE, "branch_length": 40, "n_workers": n_workers}, n_steps=64)
        try:
            trpo.learn(600, callback=Cooling(change))
            runs.append([value.clone() for value in trpo.policy.state_dict().values()])
        finally:
            trpo.close_vine()
    assert all(map(th.equal, *runs))


class Running(BaseFeaturesExtractor):
    """Centres features by a mean that is no buffer, and has a list of modules that is no ModuleList."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 2)
        self.mean = th.zeros(2)
        self.hidden = [th.nn.Linear(2, 2)]

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.hidden[0](observations - self.mean)


def test_running_statistics_and_modules_without_names_are_sent():
    def make(n_workers: int) -> TRPO:
        kwargs = {"features_extractor_class": Running}
        trpo = model(World(), policy_kwargs=kwargs, vine_kwargs=vine(n_workers))
        trpo.policy.features_extractor.mean = th.tensor([5.0, -3.0])
        return trpo

    assert_workers_agree(make)


class Tempered(ActorCriticPolicy):
    """Its temperature is a module's variable."""

    def get_distribution(self, obs: Any) -> Any:
        distribution = super().get_distribution(obs)
        logits = distribution.distribution.logits
        return CategoricalDistribution(2).proba_distribution(logits * PRIZE)


def test_a_policy_that_depends_on_what_processes_do_not_share_is_refused(monkeypatch):
    trpo = model(World(), Tempered, vine_kwargs=vine(1))
    monkeypatch.setattr(sys.modules[__name__], "PRIZE", 1.001)
    with pytest.raises(RuntimeError, match=r"log-probabilities .* attribute of the policy.*n_workers"):
        trained(trpo, 1)


def test_a_policy_with_what_cannot_be_sent_is_tried():
    """A file stays where it is; the policy does not depend on it."""

    def make(n_workers: int) -> TRPO:
        trpo = model(World(), vine_kwargs=vine(n_workers))
        trpo.policy.notes = open(os.devnull)
        return trpo

    assert_workers_agree(make)


WORLDS = [
    (World, "global", "reward of step"),
    (World, "class", "reward of step"),
    (World, "late", "reward of step"),
    (World, "ends", "step . (terminated|did not terminate)"),
    (Parts, "none", r"observation\['right'\] of step 0"),
]


def change(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PRIZE", value)
    monkeypatch.setattr(World, "prize", value)


@pytest.mark.parametrize(("env", "kind", "what"), WORLDS)
@pytest.mark.parametrize("when", ["before", "while"])
def test_another_world_in_workers_is_refused(env, kind, what, when, monkeypatch):
    policy = "MultiInputPolicy" if env is Parts else "MlpPolicy"
    trpo = model(env(kind), policy, vine_kwargs=vine(1))
    if when == "while":
        trpo.learn(1)
    change(monkeypatch, 0.5)
    with pytest.raises(RuntimeError, match=rf"same state, and .*{what}.*n_workers"):
        trained(trpo, 1)
    assert trpo._sampler is None


@pytest.mark.parametrize(("start_method", "n_workers"), [("fork", 0), ("spawn", 0), ("fork", 1)])
def test_another_world_in_the_training_environments_is_refused(start_method, n_workers, monkeypatch):
    """Truth is theirs: they have the value that was set when they were forked, workers the one that is imported."""
    if n_workers:
        change(monkeypatch, -1.0)
    env = SubprocVecEnv([lambda: CloneableEnv(World("global"))] * 2, start_method=start_method)
    try:
        trpo = model(env, n_steps=16, vine_kwargs=vine(n_workers))
        change(monkeypatch, -1.0)
        with pytest.raises(RuntimeError, match=r"the reward of step .* DummyVecEnv"):
            trained(trpo, 1)
    finally:
        env.close()


def test_only_the_training_environments_and_the_branches_must_agree(monkeypatch):
    """What this process simulates does not count if neither is here."""
    env = SubprocVecEnv([lambda: CloneableEnv(World("global"))] * 2, start_method="fork")
    try:
        trpo = model(env, n_steps=16, vine_kwargs=vine(1))
        change(monkeypatch, -1.0)
        assert trained(trpo)[0].max() > 0.0
    finally:
        env.close()


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_one_world_in_all_processes(start_method):
    """Nothing is refused, and nothing that is tried shows in the training environments."""
    batches = []
    for vec_env, n_workers in ((DummyVecEnv, 0), (partial(SubprocVecEnv, start_method=start_method), 1)):
        env: VecEnv = vec_env([lambda: CloneableEnv(PendulumEnv())] * 2)
        try:
            trpo = model(env, n_steps=16, vine_kwargs={**VINE, "n_workers": n_workers})
            batches.append([*trained(trpo, 3), *trpo.policy.state_dict().values()])
        finally:
            env.close()
    assert all(map(th.equal, *batches))


@pytest.mark.skipif(bool(os.environ.get("PYTHONHASHSEED")), reason="processes share a hash seed")
def test_the_order_of_a_set(monkeypatch):
    """Eight workers: one or another has another order."""
    trpo = model(World("hash"), vine_kwargs=vine(8), n_steps=64, batch_size=64)
    with pytest.raises(RuntimeError, match=r"the observation of step 0 was another.*PYTHONHASHSEED"):
        trained(trpo, 1)


@pytest.mark.parametrize("kind", ["environment", "directory"])
def test_environment_variables_and_the_working_directory_are_sent(kind, monkeypatch, tmp_path):
    (tmp_path / "prize").touch()

    def make(n_workers: int) -> TRPO:
        monkeypatch.undo()
        trpo = model(World(kind), vine_kwargs=vine(n_workers))
        trpo.learn(1)
        monkeypatch.setenv("TEST_PRIZE", "-3.0")
        monkeypatch.chdir(tmp_path)
        return trpo

    assert_workers_agree(make)


def test_a_script_that_sets_a_variable_of_a_module_it_imports(tmp_path, monkeypatch):
    """With the variable as imported, workers would say that action 1 is the better one."""
    (tmp_path / "mysim.py").write_text(
        "import gymnasium as gym, numpy as np\n"
        "PRIZE = 1.0\n"
        "class Sim(gym.Env):\n"
        "    observation_space, action_space = gym.spaces.Box(-1.0, 1.0, (1,)), gym.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        return np.zeros(1, np.float32), {}\n"
        "    def step(self, action):\n"
        "        return np.zeros(1, np.float32), PRIZE * float(action), True, False, {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import mysim  # type: ignore[import-not-found]

    monkeypatch.delitem(sys.modules, "mysim")
    monkeypatch.setitem(sys.modules, "mysim", mysim)
    mysim.PRIZE = -1.0
    with pytest.raises(RuntimeError, match=r"the reward of step 0 was -[01]\.0, not [01]\.0"):
        trained(model(mysim.Sim(), vine_kwargs=vine(1)), 1)
