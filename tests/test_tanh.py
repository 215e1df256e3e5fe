"""tanh by NumPy is PyTorch's, and so are its derivatives."""

import pytest
import torch as th

from sb3_trpo.tanh import Tanh, tanh

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
