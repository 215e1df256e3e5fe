"""The LSTM written out beside PyTorch's, differentiated twice."""

import pytest
import torch as th
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from sb3_trpo.policy.lstm import twice_differentiable
from sb3_trpo.trust_region import AutogradLinearization

SIZES = [4, 3, 3, 1, 1]  # four sequences: of five steps, three, three and one


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_both_products_are_pytorchs(layers: int, bias: bool) -> None:
    """To 1e-12 in double precision; with respect to the inputs, too, which a features extractor makes."""
    th.manual_seed(0)
    lstm = nn.LSTM(3, 5, layers, bias=bias).double()
    inputs = th.randn(sum(SIZES), 3, dtype=th.float64, requires_grad=True)
    states = (th.randn(layers, 4, 5, dtype=th.float64), th.randn(layers, 4, 5, dtype=th.float64))
    theta = [*lstm.parameters(), inputs]
    truth = AutogradLinearization(lstm(PackedSequence(inputs, th.tensor(SIZES)), states)[0].data, theta)
    own = AutogradLinearization(twice_differentiable(lstm, inputs, SIZES, states), theta)
    assert th.allclose(own.at, truth.at, rtol=0.0, atol=1e-12)
    for _ in range(3):
        vector = th.randn(sum(part.numel() for part in theta), dtype=th.float64)
        cotangent = th.randn(sum(SIZES), 5, dtype=th.float64)
        assert th.allclose(own.jvp(vector), truth.jvp(vector), rtol=0.0, atol=1e-12)
        assert th.allclose(own.vjp(cotangent), truth.vjp(cotangent), rtol=0.0, atol=1e-12)
        assert float(own.jvp(vector).flatten() @ cotangent.flatten()) == pytest.approx(float(own.vjp(cotangent) @ vector))


def test_inputs_that_do_not_depend_on_theta_are_left_out() -> None:
    lstm, inputs, states = nn.LSTM(3, 5), th.randn(12, 3), (th.zeros(1, 4, 5), th.zeros(1, 4, 5))
    theta = list(lstm.parameters())
    truth = AutogradLinearization(lstm(PackedSequence(inputs, th.tensor(SIZES)), states)[0].data, theta)
    own = AutogradLinearization(twice_differentiable(lstm, inputs, SIZES, states), theta)
    vector = th.randn(sum(part.numel() for part in theta))
    assert th.allclose(own.jvp(vector), truth.jvp(vector), atol=1e-6)
