"""tanh by NumPy is PyTorch's, and so are its derivatives."""

import pytest
import torch as th

from sb3_trpo.policy.tanh import Tanh, tanh

X = th.cat([th.linspace(-12.0, 12.0, 999), th.tensor([0.0, -0.0, 1e-30, th.inf, -th.inf])])


@pytest.mark.parametrize("dtype, tolerance", [(th.float32, 3e-7), (th.float64, 5e-16), (th.bfloat16, 0.0)])
def test_values(dtype: th.dtype, tolerance: float) -> None:
    """To two units in the last place; bfloat16, which NumPy does not have, is PyTorch's own."""
    x = X.to(dtype)
    assert th.allclose(tanh(x), th.tanh(x), rtol=tolerance, atol=0.0)
    assert tanh(th.tensor([th.nan], dtype=dtype)).isnan()


def test_first_and_second_derivatives() -> None:
    x = (X[::50].double()).requires_grad_()
    assert th.autograd.gradcheck(Tanh(), x)
    assert th.autograd.gradgradcheck(Tanh(), x)


def test_order_of_memory_stays() -> None:
    pictures = th.randn(2, 3, 4, 5).contiguous(memory_format=th.channels_last)
    for x in (pictures, pictures.clone().requires_grad_()):
        assert Tanh()(x).is_contiguous(memory_format=th.channels_last)


def test_it_can_be_exported() -> None:
    """What is traced or exported is a function of its input: PyTorch's own, on pictures it has not seen."""
    network = th.nn.Sequential(th.nn.Linear(3, 4), Tanh())
    x, other = th.randn(2, 3), th.randn(2, 3)
    with th.no_grad():
        traced = th.jit.trace(network, x)
        exported = th.export.export(network, (x,)).module()
        for copy in (traced, exported):
            assert th.allclose(copy(other), network(other), atol=1e-6)
