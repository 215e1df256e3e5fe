"""Trust Region Policy Optimization for Stable-Baselines3.

Beside :class:`TRPO` there are ``MaskableTRPO``, ``RecurrentTRPO`` and ``MaskableRecurrentTRPO``, which need sb3-contrib:
``pip install "sb3_trpo[contrib]"``.

Where to read: ``trpo`` is the algorithm. It collects a rollout (``sampling``, and ``sampling.vine`` for the paper's vine),
makes the trust-region step (``update`` on the mathematics of ``trust_region``) and fits the ``critic``. ``policy`` is what
all three know of SB3's policies.

Around it: ``variants`` with masks and memory; ``simulators`` (exact copies of states) and ``restarts`` (episodes that begin
in them); ``vec_env`` and ``processes`` (environments on every core), ``distributed`` and ``ranks`` (one step by several
processes); ``checkpoints``; ``atari``; ``zoo`` with ``hyperparams``, behind the command line of ``__main__``.

Small parts: ``arguments``, ``checks``, ``settings``, ``schedules`` and ``equality`` (what a user gives), ``loading`` (files of
other versions and algorithms), ``diagnostics`` and ``progress_bars`` (what a user sees), ``interruption`` (Ctrl-C), ``atomic``
(files written whole or not at all), ``discrete`` (finite action spaces), ``observation_parts`` (of ``Dict`` observations) and
``memory_order`` (of an array's axes).
"""

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from sb3_trpo.trpo import TRPO, CnnPolicy, MlpPolicy, MultiInputPolicy
from sb3_trpo.vec_env import WorkerVecEnv

if TYPE_CHECKING:
    from sb3_trpo.variants import MaskableRecurrentTRPO as MaskableRecurrentTRPO
    from sb3_trpo.variants import MaskableTRPO as MaskableTRPO
    from sb3_trpo.variants import RecurrentTRPO as RecurrentTRPO

__version__ = files(__name__).joinpath("version.txt").read_text(encoding="utf-8").strip()

__all__ = ["TRPO", "CnnPolicy", "MlpPolicy", "MultiInputPolicy", "WorkerVecEnv", "__version__"]

VARIANTS = ("MaskableTRPO", "RecurrentTRPO", "MaskableRecurrentTRPO")


def __getattr__(name: str) -> Any:
    """The variants, imported when they are first asked for."""
    if name not in VARIANTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from sb3_trpo import variants
    except ModuleNotFoundError as error:
        if error.name != "sb3_contrib":
            raise
        raise ImportError(f'{name} needs sb3-contrib: pip install "sb3_trpo[contrib]"') from error
    return getattr(variants, name)
