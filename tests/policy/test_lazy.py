"""Layers that find their sizes when they first run."""

from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_trpo import TRPO
from tests.toys import ToyEnv, parameters, same


class Lazy(BaseFeaturesExtractor):
    def __init__(self, observation_space: Any):
        super().__init__(observation_space, 8)
        self.layers = nn.Sequential(nn.LazyLinear(8), nn.Tanh())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


def test_they_learn_and_are_saved(tmp_path: Path) -> None:
    """Orthogonal initialisation, SB3's default, needs sizes that are known."""
    kwargs = {"features_extractor_class": Lazy, "ortho_init": False}
    model = TRPO("MlpPolicy", ToyEnv(), n_steps=64, batch_size=64, seed=0, policy_kwargs=kwargs)
    before = parameters(model)
    model.learn(128)
    name = "features_extractor.layers.0.weight"
    assert model.last_update["train/status"] == "ok" and not th.equal(parameters(model)[name], before[name])
    model.save(tmp_path / "model")
    assert same(parameters(model), parameters(TRPO.load(tmp_path / "model")))
