"""Every way of sampling that the study compares: settings, wrappers of the environments, and other methods of TRPO's."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from benchmarks.common.training import Variant
from benchmarks.vine_study.branching import BeforeFailures, BranchingVecEnv, Present, Rare, Roots, Visited
from benchmarks.vine_study.siblings import with_mirrored_noise, with_sibling_baseline
from benchmarks.vine_study.vines import FreshValues, Hybrid, LargestAdvantages, TrunkAsBranch
from sb3_trpo import TRPO
from sb3_trpo.sampling import Vine, make_vine

# 2,048 simulator steps an iteration, branches included; the methods without a critic need four times as many
ROWS, STEPS = 16, 128
COMMON: dict[str, Any] = {"policy": "MlpPolicy", "normalize": True, "n_envs": ROWS, "n_steps": STEPS, "n_critic_updates": 20}


def branching(n_trunks: int, period: int, roots: Callable[[], Roots], **methods: Any) -> Variant:
    """The same environments, of which all but the trunks are branches."""

    def wrap(seed: int, venv: VecEnv) -> VecEnv:
        return BranchingVecEnv(venv, n_trunks, period, roots(), seed)

    return Variant(wrap=wrap, methods=methods)


def growing(kind: type[Vine], settings: dict[str, Any], only: tuple[str, ...] | None = None) -> Variant:
    """A vine of this kind."""

    def make_sampler(model: TRPO, env: VecEnv) -> Vine:
        return make_vine(env, model.policy, model.vine_kwargs, model.n_steps, kind)

    methods = {} if kind is Vine else {"_make_sampler": make_sampler}
    return Variant({"sampling": "vine", **settings}, methods=methods, only=only)


def vine(branches: int = 4, kind: type[Vine] = Vine) -> Variant:
    """1,024 steps for the trunk, and ten for every branch in each of 25 states: 1,000 with four branches."""
    branching = {"branches_per_state": branches, "branch_length": 10, "n_states": 25}
    return growing(kind, {"n_envs": ROWS // 2, "vine_kwargs": branching})


VARIANTS: dict[str, Variant] = {
    "GAE": Variant(),
    "GAE, 2 environments": Variant({"n_envs": 2, "n_steps": 1024}),
    "Monte Carlo": Variant({"n_envs": 8, "n_steps": 1024, "advantage_estimator": "monte_carlo", "n_critic_updates": 0}),
    "vine": vine(),
    "vine without critic": Variant(
        {
            "n_envs": 4,
            "n_steps": 1024,
            "sampling": "vine",
            "advantage_estimator": "monte_carlo",
            "n_critic_updates": 0,
            "vine_kwargs": {"branches_per_state": 4, "branch_length": 50, "n_states": 20, "bootstrap": False},
        }
    ),
    "fresh values": growing(
        FreshValues,
        {
            "n_envs": 4,
            "n_steps": 20,
            "advantage_estimator": "monte_carlo",
            "n_critic_updates": 0,
            "vine_kwargs": {
                "branches_per_state": 4,
                "branch_length": 50,
                "n_states": 80,
                "bootstrap": False,
                "common_random_numbers": False,
            },
        },
        ("ReacherAtEnd-v5",),
    ),
    "hybrid": vine(kind=Hybrid),
    "trunk as a branch": vine(branches=3, kind=TrunkAsBranch),
    "roots of large advantage": vine(kind=LargestAdvantages),
    "every branch step a sample": branching(8, 32, partial(Visited, every=4, size=64)),
    "shadows, 8 × 1": branching(8, 128, Present, _estimate_advantages=with_sibling_baseline(8, 128)),
    "shadows, 8 × 1, without baseline": branching(8, 128, Present),
    "shadows, 4 × 3": branching(4, 32, Present, _estimate_advantages=with_sibling_baseline(4, 32)),
    "shadows, 4 × 3, of 8 steps": branching(4, 8, Present, _estimate_advantages=with_sibling_baseline(4, 8)),
    "mirrored shadows, 8 × 1": branching(8, 64, Present, _make_evaluator=with_mirrored_noise),
    "roots before failures": replace(
        branching(8, 64, partial(BeforeFailures, within=100, every=5, size=400)),
        only=("Hopper-v5", "InvertedDoublePendulum-v5", "HopperPositions-v5"),
    ),
    "rare roots": replace(branching(8, 128, partial(Rare, every=8, size=2_000)), only=("SparseHalfCheetah-v5",)),
}
