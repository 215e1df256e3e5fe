"""Fisher-vector products, analytic over actions (paper, section 6 and appendix C)."""

from collections.abc import Callable, Sequence

import torch as th

from sb3_trpo.trust_region.distributions import DistributionFamily

VectorProduct = Callable[[th.Tensor], th.Tensor]


def flatten(tensors: Sequence[th.Tensor]) -> th.Tensor:
    """Tensors of any shapes as one vector, in order."""
    return th.cat([tensor.reshape(-1) for tensor in tensors])


def unflatten(vector: th.Tensor, like: Sequence[th.Tensor]) -> list[th.Tensor]:
    """Inverse of :func:`flatten`: views of ``vector`` in the shapes of ``like``."""
    parts = vector.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def fisher_vector_product(
    outputs: th.Tensor, parameters: Sequence[th.Tensor], family: DistributionFamily, damping: float
) -> VectorProduct:
    """The map v ↦ (F + λI) v with F = (1/B) Σ_s J_sᵀ M_s J_s and λ the damping.

    J_s is the Jacobian of state s's distribution parameters with respect to θ and M_s their Fisher matrix, so that
    no action is sampled and no second derivative of the network is needed. J v comes from differentiating u ↦ Jᵀu,
    which is linear, with respect to u; that graph is built once and serves every product.

    :param outputs: distribution parameters ``[B, P]``, with their graph
    :param parameters: the tensors that make up θ; every one of them must reach ``outputs``
    :param family: the distribution's Fisher matrix in its own parameters
    :param damping: λ ≥ 0
    :return: a function of a flat vector ``[N]`` that returns another
    """
    at = outputs.detach()
    probe = th.zeros_like(outputs, requires_grad=True)
    pullback = th.autograd.grad(outputs, parameters, grad_outputs=probe, create_graph=True)

    def product(vector: th.Tensor) -> th.Tensor:
        (tangent,) = th.autograd.grad(pullback, probe, grad_outputs=unflatten(vector, parameters), retain_graph=True)
        cotangent = family.fisher(at, tangent) / len(at)
        return flatten(th.autograd.grad(outputs, parameters, grad_outputs=cotangent, retain_graph=True)) + damping * vector

    return product
