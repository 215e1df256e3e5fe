"""All studies, by the name they have on the command line."""

import ast
from importlib import import_module

from benchmarks.common.environment import ROOT
from benchmarks.common.study import Study

STUDIES = {  # name -> where it is declared
    "comparison": "benchmarks.learning.comparison",
    "comparison_speed": "benchmarks.learning.comparison_speed",
    "same_settings": "benchmarks.learning.same_settings",
    "ablations": "benchmarks.learning.ablations",
    "candidates": "benchmarks.learning.candidates",
    "averaging": "benchmarks.learning.averaging",
    "gains": "benchmarks.learning.gains",
    "gains_longer": "benchmarks.learning.gains_longer",
    "signal": "benchmarks.learning.signal",
    "better_critic": "benchmarks.learning.better_critic",
    "log_ranges": "benchmarks.learning.log_ranges",
    "tuning": "benchmarks.learning.tuning",
    "agents": "benchmarks.learning.agents",
    "learning_curves": "benchmarks.learning.learning_curves",
    "trained_agents": "benchmarks.learning.trained_agents",
    "vine_defaults": "benchmarks.learning.vine_defaults",
    "vine_study": "benchmarks.vine_study.study",
    "figure4": "benchmarks.figure4.study",
    "vine_variance": "benchmarks.vine.vine_variance",
    "vine_speed": "benchmarks.vine.vine_speed",
    "vine_figure": "benchmarks.vine.vine_figure",
    "state_fidelity": "benchmarks.vine.state_fidelity",
    "restarts": "benchmarks.restarts.study",
    "restarts_harm": "benchmarks.restarts.harm",
    "variants": "benchmarks.variants.study",
    "variant_speed": "benchmarks.variants.speed",
    "atari": "benchmarks.atari.study",
    "atari_speed": "benchmarks.atari.speed",
    "atari_workers": "benchmarks.atari.workers",
    "atari_memory": "benchmarks.atari.memory",
    "throughput": "benchmarks.speed.throughput",
    "time_budget": "benchmarks.speed.time_budget",
    "update_speed": "benchmarks.speed.update_speed",
    "update_memory": "benchmarks.speed.update_memory",
    "ranks": "benchmarks.speed.ranks",
    "workers": "benchmarks.speed.workers",
    "vec_envs": "benchmarks.speed.vec_envs",
    "checkpoint_cost": "benchmarks.atari.checkpoint_cost",
}


def about_of(name: str) -> str:
    """The first line of what a study says of itself, read without an import: few users have the libraries of all studies."""
    source = ROOT.joinpath(*STUDIES[name].split(".")).with_suffix(".py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def load(name: str) -> tuple[Study, str]:
    """The declaration and what it says of itself; imported now, because few users have the libraries of all studies."""
    module = import_module(STUDIES[name])
    return module.STUDY, (module.__doc__ or "").strip()
