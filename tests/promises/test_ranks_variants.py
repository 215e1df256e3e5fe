"""With masks and with a memory, too, several ranks take the step that one process with all their environments takes."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.env_util import make_vec_env

from sb3_trpo import MaskableRecurrentTRPO, MaskableTRPO, RecurrentTRPO
from sb3_trpo.distributed import rank_and_size
from sb3_trpo.sampling import evaluators
from sb3_trpo.trust_region import flatten
from tests.masked import MaskedToy
from tests.ranks import SMALL, on_ranks
from tests.toys import ToyEnv

N_ENVS, N_ACTIONS = 4, 5
NOISE = np.random.default_rng(0).exponential(size=(SMALL["n_steps"], N_ENVS, N_ACTIONS)).astype(np.float32)
MEMORY: dict[str, Any] = {"policy_kwargs": {"lstm_hidden_size": 16}}


def masked() -> MaskedToy:
    return MaskedToy(spaces.Discrete(N_ACTIONS))


KINDS: dict[str, tuple[Any, str, Any, dict[str, Any]]] = {
    "memory": (RecurrentTRPO, "MlpLstmPolicy", ToyEnv, MEMORY),
    "masks": (MaskableTRPO, "MlpPolicy", masked, {}),
    "both": (MaskableRecurrentTRPO, "MlpLstmPolicy", masked, MEMORY),
}


def one_update(kind: str, n_envs: int) -> dict[str, Any]:
    """The policy's step, with actions drawn from noise that belongs to step and environment."""
    algorithm, policy, env, settings = KINDS[kind]
    model = algorithm(policy, make_vec_env(env, n_envs), n_critic_updates=0, **SMALL, **settings)
    first = rank_and_size()[0] * n_envs

    def noise() -> th.Tensor:
        return th.as_tensor(NOISE[model.rollout_buffer.pos, first : first + n_envs])

    def gaussian(self: Any, deterministic: bool = False) -> th.Tensor:
        mean = self.distribution.mean
        return mean + self.distribution.stddev * noise()[:, : mean.shape[1]].log()

    def categorical(self: Any, deterministic: bool = False) -> th.Tensor:
        return (self.distribution.probs / noise()).argmax(dim=1)

    DiagGaussianDistribution.get_actions = gaussian  # type: ignore[method-assign, assignment]
    CategoricalDistribution.get_actions = categorical  # type: ignore[method-assign, assignment]
    evaluators.numpy_actor = lambda *_: None  # which draws its own
    before: list[th.Tensor] = []

    def keep(*_: Any) -> bool:
        before.append(flatten(list(model.policy.parameters())))
        return True

    model.learn(SMALL["n_steps"] * N_ENVS, keep)
    step = flatten(list(model.policy.parameters())) - before[0]  # ranks have the same parameters since learning began
    return {"step": step.detach(), "log": dict(model.last_update), "steps": model.num_timesteps}


@pytest.mark.parametrize("kind", list(KINDS))
def test_two_ranks_of_two_environments_are_one_process_of_four(kind: str) -> None:
    """The step to 0.5 % of its norm, its KL divergence to 1 %."""
    (whole,) = on_ranks(one_update, kind, N_ENVS, size=1)
    first, second = on_ranks(one_update, kind, N_ENVS // 2)
    assert th.equal(first["step"], second["step"]) and first["steps"] == whole["steps"] == SMALL["n_steps"] * N_ENVS
    assert float(whole["step"].norm()) > 0.01
    assert float((first["step"] - whole["step"]).norm()) < 0.005 * float(whole["step"].norm())
    for key in ("train/kl_divergence_loss", "train/kl_max", "train/policy_objective"):
        assert first["log"][key] == pytest.approx(whole["log"][key], rel=0.01)


def one_update_of_a_vine() -> dict[str, Any]:
    """All actions are possible on the first rank, three of five on the others."""
    rank, _ = rank_and_size()
    mask = np.arange(N_ACTIONS) < (N_ACTIONS if rank == 0 else 3)
    env = make_vec_env(lambda: MaskedToy(spaces.Discrete(N_ACTIONS), lambda _: mask), 2)
    options = {"n_states": 4, "branches_per_state": "all", "branch_length": 3}
    model = MaskableTRPO("MlpPolicy", env, sampling="vine", vine_kwargs=options, **SMALL)
    model.learn(1)
    return {"theta": flatten(list(model.policy.parameters())).detach(), "possible": model._experience.tried.possible is None}


def test_ranks_need_not_all_have_impossible_actions_to_branch_into() -> None:
    first, second = on_ranks(one_update_of_a_vine)
    assert (first["possible"], second["possible"]) == (True, False)
    assert th.equal(first["theta"], second["theta"])
