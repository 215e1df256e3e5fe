"""What callbacks know: how often they were called, the best mean so far, what was evaluated."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

_BASE = "stable_baselines3.common.callbacks."
# Attributes that callbacks change, by class; what a class derives from counts, too
_STATE: dict[str, tuple[str, ...]] = {
    f"{_BASE}BaseCallback": ("n_calls", "num_timesteps"),
    f"{_BASE}EvalCallback": (
        *("best_mean_reward", "last_mean_reward", "evaluations_results", "evaluations_timesteps", "evaluations_length"),
        *("evaluations_successes", "_is_success_buffer"),
    ),
    f"{_BASE}EveryNTimesteps": ("last_time_trigger",),
    f"{_BASE}StopTrainingOnMaxEpisodes": ("n_episodes",),
    f"{_BASE}StopTrainingOnNoModelImprovement": ("last_best_mean_reward", "no_improvement_evals"),
    "rl_zoo3.callbacks.RawStatisticsCallback": ("_timesteps_counter",),
}
_KNOWN = ("stable_baselines3.", "sb3_contrib.", "sb3_trpo.", "rl_zoo3.")  # whose callbacks have no more to say
_LEADING_ELSEWHERE = ("parent", "model", "locals", "globals")
_UNCHANGED = ("verbose", "callback", "eval_env", *_LEADING_ELSEWHERE)


def walk(callback: BaseCallback, met: set[int] | None = None) -> Iterator[BaseCallback]:
    """A callback and all that it calls, itself first, each once.

    :param callback: the first
    :param met: what ``id`` says of those that came before
    """
    met = set() if met is None else met
    if id(callback) in met:
        return
    met.add(id(callback))
    yield callback
    for name, value in vars(callback).items():
        parts = value if isinstance(value, (list, tuple)) else (value,)
        for part in () if name in _LEADING_ELSEWHERE else parts:
            if isinstance(part, BaseCallback):
                yield from walk(part, met)


def named(root: BaseCallback) -> dict[str, BaseCallback]:
    """All callbacks of a run, by class and by how many of that class come before; without those that only hold others."""
    count: Counter[str] = Counter()
    found: dict[str, BaseCallback] = {}
    for callback in walk(root):
        name = _name_of(type(callback))
        holds_others = name.removeprefix(_BASE) in ("CallbackList", "ProgressBarCallback")
        if not holds_others and not name.startswith("sb3_trpo.checkpoints."):
            count[name] += 1
            found[f"{name} {count[name]}"] = callback
    return found


def state_of(callback: BaseCallback) -> dict[str, Any]:
    """What a callback knows.

    :param callback: one of Stable-Baselines3's, or any other, which may offer ``state_dict`` and ``load_state_dict``
    """
    state = {name: vars(callback)[name] for name in _names(callback) if name in vars(callback)}
    if _offers_more(callback):
        state["state_dict"] = callback.state_dict()  # type: ignore[attr-defined]
    return state


def load_state(callback: BaseCallback, state: dict[str, Any]) -> None:
    """Inverse of :func:`state_of`."""
    own = dict(state)
    if "state_dict" in own:
        callback.load_state_dict(own.pop("state_dict"))  # type: ignore[attr-defined]
    vars(callback).update(own)


def environments_of(root: BaseCallback) -> dict[str, VecEnv]:
    """Environments that callbacks evaluate in, by the callback's name."""
    envs = {name: vars(callback).get("eval_env") for name, callback in named(root).items()}
    return {name: env for name, env in envs.items() if isinstance(env, VecEnv)}


def not_saved(root: BaseCallback) -> dict[str, list[str]]:
    """Attributes of callbacks of unknown classes that do not offer their state, by the class's name."""
    found = {}
    for name, callback in named(root).items():
        if not name.startswith(_KNOWN) and not _offers_more(callback):
            known = {*_UNCHANGED, *_names(callback)}
            own = [key for key, value in vars(callback).items() if key not in known and not isinstance(value, BaseCallback)]
            if own:
                found[name.rpartition(" ")[0]] = own
    return found


def _names(callback: BaseCallback) -> list[str]:
    return [name for base in type(callback).__mro__ for name in _STATE.get(_name_of(base), ())]


def _offers_more(callback: BaseCallback) -> bool:
    return all(callable(getattr(callback, name, None)) for name in ("state_dict", "load_state_dict"))


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
