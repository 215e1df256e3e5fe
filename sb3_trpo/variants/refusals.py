"""What a variant cannot be combined with, said before training."""

from typing import Any

from stable_baselines3.common.buffers import RolloutBuffer

from sb3_trpo.sampling.buffers import is_stock_buffer


def check_policy_class(model: Any) -> None:
    """Refuse a policy of another kind.

    :param model: with the ``policy_base`` that its policies have
    :raises ValueError: naming those that are allowed
    """
    base = model.policy_base
    if not (isinstance(model.policy_class, type) and issubclass(model.policy_class, base)):
        raise ValueError(
            f"{type(model).__name__} needs a policy derived from {base.__module__}.{base.__name__}, not "
            f"{getattr(model.policy_class, '__name__', model.policy_class)}: use "
            f"{', '.join(model.policy_aliases)}, or a subclass."
        )


def refuse_vine(model: Any, because: str) -> None:
    """Refuse to branch.

    :param because: what would be wrong
    :raises ValueError: if the model is to
    """
    if model.sampling == "vine":
        raise ValueError(f'{type(model).__name__} has no vine, because {because}: use sampling="single_path".')


def refuse_own_buffer(buffer: RolloutBuffer) -> None:
    """Refuse a buffer that gives its samples in an order of its own, in which nothing that is kept beside it would be found.

    :raises ValueError: for such a one
    """
    if not is_stock_buffer(buffer):
        raise ValueError(
            f"rollout_buffer_class={type(buffer).__name__} is written to or read from in a way of its own, but what belongs "
            "to a step, beside its observation, is kept beside the buffer: leave rollout_buffer_class out."
        )
