"""What a variant cannot be combined with, said before training."""

from typing import Any

from sb3_contrib.common.maskable.distributions import (
    MaskableBernoulliDistribution,
    MaskableCategoricalDistribution,
    MaskableMultiCategoricalDistribution,
)
from stable_baselines3.common.buffers import RolloutBuffer
from torch import nn

from sb3_trpo.discrete import MASKS
from sb3_trpo.policy import overrides
from sb3_trpo.sampling.buffers import is_stock_buffer

WITHOUT_MASKS = (
    f"The environment has no method {MASKS}(): give it one, wrap it in sb3_contrib.common.wrappers.ActionMasker, or {{}}."
)
STOCK_DISTRIBUTIONS = (
    MaskableBernoulliDistribution,
    MaskableCategoricalDistribution,
    MaskableMultiCategoricalDistribution,
)
RECURRENT_METHODS = (
    "forward",
    "get_distribution",
    "predict_values",
    "extract_features",
    "_process_sequence",
    "_get_action_dist_from_latent",
)


def refuse_vine(model: Any) -> None:
    """Refuse to branch.

    :raises ValueError: if a model with a memory is to
    """
    if model.sampling == "vine":
        raise ValueError(
            f"{type(model).__name__} has no vine, because a simulator's saved state does not hold the state of the LSTM: use "
            'sampling="single_path".'
        )


def refuse_own_buffer(buffer: RolloutBuffer) -> None:
    """Refuse a buffer that gives its samples in an order of its own, in which nothing that is kept beside it would be found.

    :raises ValueError: for such a one
    """
    if not is_stock_buffer(buffer):
        raise ValueError(
            f"rollout_buffer_class={type(buffer).__name__} is written to or read from in a way of its own, but what belongs "
            "to a step, beside its observation, is kept beside the buffer: leave rollout_buffer_class out."
        )


def refuse_own_distribution(policy: Any) -> None:
    """Refuse a masked policy that was given a distribution of its own, which would be replaced without a word.

    :raises ValueError: for another distribution than sb3-contrib's
    """
    if type(policy.action_dist) not in STOCK_DISTRIBUTIONS:
        raise ValueError(
            f"{type(policy).__name__} has a distribution of its own, {type(policy.action_dist).__name__}, but masks need a KL "
            "divergence and a Fisher matrix that are known: leave action_dist as sb3-contrib makes it, and change networks."
        )


def check_lstms(policy: Any, base: type) -> None:
    """Refuse a recurrent policy that does not run its LSTMs as sb3-contrib's do, one step after another.

    :param base: the class whose methods it must have
    :raises ValueError: naming the method or the LSTM
    """
    replaced = [name for name in RECURRENT_METHODS if overrides(policy, base, (name,))]
    if replaced:
        raise ValueError(
            f"{type(policy).__name__} overrides {', '.join(replaced)}, but an update runs whole sequences through the "
            "policy's networks without them: change features extractor, mlp_extractor or LSTMs instead."
        )
    for name in ("lstm_actor", "lstm_critic"):
        lstm = getattr(policy, name)
        if lstm is not None and (type(lstm) is not nn.LSTM or lstm.bidirectional or lstm.proj_size or lstm.batch_first):
            raise ValueError(
                f"The policy's {name} is {lstm}: it must be PyTorch's LSTM. Of lstm_kwargs, only 'bias' and "
                "'dropout' are supported."
            )
