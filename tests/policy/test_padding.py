import numpy as np
import pytest
import torch as th
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from sb3_trpo.policy.padding import Padding

LENGTHS = [[1], [7, 7, 7], [3, 9, 1, 4, 9, 2, 30, 1, 16, 15], [1] * 5, [40, 1, 1, 1, 1], [5, 6, 5]]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("layers", [1, 2])
def test_outputs_and_gradients_are_those_of_packed_sequences(lengths, layers):
    """PyTorch's, in double precision to 1e-12."""
    th.manual_seed(len(lengths))
    lstm = nn.LSTM(3, 5, num_layers=layers).double()
    features = th.randn(sum(lengths), 3, dtype=th.float64)
    begin = tuple(th.randn(layers, len(lengths), 5, dtype=th.float64) for _ in range(2))
    packed, _ = nn.utils.rnn.pad_packed_sequence(
        lstm(pack_sequence(list(features.split(lengths)), enforce_sorted=False), begin)[0], batch_first=True
    )
    expected = th.cat([row[:length] for row, length in zip(packed, lengths, strict=True)])
    found = Padding.of(np.array(lengths), th.device("cpu")).outputs(lstm, features, begin)
    assert found.shape == expected.shape and float((found - expected).abs().max()) < 1e-12
    weights = th.randn_like(found)
    gradients = [th.autograd.grad((weights * outputs).sum(), [*lstm.parameters()]) for outputs in (found, expected)]
    assert max(float((ours - theirs).abs().max()) for ours, theirs in zip(*gradients, strict=True)) < 1e-12


@pytest.mark.parametrize("lengths", LENGTHS)
def test_at_most_half_is_padding(lengths):
    groups = Padding.of(np.array(lengths), th.device("cpu")).groups
    assert sum(int(group.real.sum()) for group in groups) == sum(lengths)
    assert all(int(group.real.sum()) >= group.real.numel() / 2 for group in groups)
    assert sum(len(group.rows) for group in groups) <= 2 * max(lengths)
    assert sorted(th.cat([group.sequences for group in groups]).tolist()) == list(range(len(lengths)))
