"""The convolutional policy of the paper's Atari experiment (section 8.2, figure 3)."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from sb3_trpo.policy import register_extractor
from sb3_trpo.policy.tanh import Tanh

FILTERS = 16
KERNEL, STRIDE = 4, 2


class PaperCnn(BaseFeaturesExtractor):
    """Two convolutions of 16 filters, 4×4 with stride 2 and without padding, and a layer of 20 units, tanh after each.

    On 4×52×40 images, and with 8 outputs behind it, it has the paper's 33,500 parameters.

    :param observation_space: of images, channels first, at least 10×10
    :param features_dim: units of the last layer
    :param normalized_image: whether the images' numbers are taken as they are, instead of bytes that SB3 divides by 255
    :raises ValueError: for observations that are no such images
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 20, normalized_image: bool = False):
        super().__init__(observation_space, features_dim)
        shape = observation_space.shape
        is_image = is_image_space(observation_space, check_channels=False, normalized_image=normalized_image)
        if not is_image or min(shape[1:]) < STRIDE * (KERNEL - 1) + KERNEL:
            raise ValueError(
                f"PaperCnn needs images of bytes, channels first, at least 10×10, not {observation_space}: wrap the "
                'environment in sb3_trpo.atari.PaperAtariWrapper, or use "MlpPolicy" for vectors.'
            )
        convolutions = nn.Sequential(
            nn.Conv2d(shape[0], FILTERS, KERNEL, STRIDE), Tanh(), nn.Conv2d(FILTERS, FILTERS, KERNEL, STRIDE), Tanh()
        )
        with th.no_grad():
            size = convolutions(th.zeros(1, *shape)).numel()
        self.layers = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(size, features_dim), Tanh())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        # With channels last in memory PyTorch convolves forwards and backwards a fifth faster
        return self.layers(observations.contiguous(memory_format=th.channels_last))


register_extractor(PaperCnn, "layers")


class PaperCnnPolicy(ActorCriticPolicy):
    """The paper's policy as an actor-critic policy of SB3, known to TRPO as ``"PaperCnnPolicy"``.

    The paper says nothing of a critic for Atari. Here it is a network of the same kind and of its own: 20 features that
    serve the actor say little about the value, and what they share must not move while the critic is fitted.

    :param observation_space: of images
    :param action_space: the paper's are discrete and factored, see :class:`sb3_trpo.atari.FactoredActions`
    :param lr_schedule: of the critic's optimizer
    :param net_arch: further layers behind the features; none if None
    :param kwargs: as for SB3's ``ActorCriticPolicy``
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ):
        kwargs = {"features_extractor_class": PaperCnn, "share_features_extractor": False, **kwargs}
        if not kwargs.get("normalize_images", True) and issubclass(
            kwargs["features_extractor_class"], PaperCnn
        ):  # as NatureCNN's
            kwargs["features_extractor_kwargs"] = {"normalized_image": True, **(kwargs.get("features_extractor_kwargs") or {})}
        super().__init__(observation_space, action_space, lr_schedule, [] if net_arch is None else net_arch, **kwargs)
