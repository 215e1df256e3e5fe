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


class Linearization:
    """The map from θ to distribution parameters, linearised at θ₀ for some states: v ↦ J v and u ↦ Jᵀu.

    J v is had by differentiating u ↦ Jᵀu, which is linear, with respect to u: reverse mode alone, whatever the
    network is made of, and the graph built here serves every product.

    :param outputs: distribution parameters ``[B, P]``, with their graph
    :param parameters: the tensors that make up θ; every one of them must reach ``outputs``
    """

    def __init__(self, outputs: th.Tensor, parameters: Sequence[th.Tensor]):
        self.at = outputs.detach()
        self._outputs, self._parameters = outputs, parameters
        self._probe = th.zeros_like(outputs, requires_grad=True)
        self._pullback = th.autograd.grad(outputs, parameters, grad_outputs=self._probe, create_graph=True)

    def jvp(self, vector: th.Tensor) -> th.Tensor:
        """J v, ``[B, P]``, for a flat ``[N]``."""
        tangents = unflatten(vector, self._parameters)
        return th.autograd.grad(self._pullback, self._probe, grad_outputs=tangents, retain_graph=True)[0]

    def vjp(self, cotangent: th.Tensor) -> th.Tensor:
        """Jᵀu, flat ``[N]``, for u of shape ``[B, P]``."""
        return flatten(th.autograd.grad(self._outputs, self._parameters, grad_outputs=cotangent, retain_graph=True))


def fisher_vector_product(
    chunks: Sequence[Callable[[], th.Tensor]],
    parameters: Sequence[th.Tensor],
    family: DistributionFamily,
    damping: float,
) -> VectorProduct:
    """The map v ↦ (F + λI) v with F = (1/B) Σ_s J_sᵀ M_s J_s and λ the damping.

    J_s is the Jacobian of state s's distribution parameters with respect to θ and M_s their Fisher matrix, so no
    action is sampled and no second derivative of the network is needed. The states come in chunks. The graph of a
    single chunk is built once; of several, each is built anew in every product and freed before the next, so that
    memory is that of one chunk however many states there are.

    :param chunks: functions that run the network at θ₀ and return distribution parameters ``[B_i, P]`` with their graph
    :param parameters: the tensors that make up θ; every one of them must reach the outputs
    :param family: the distribution's Fisher matrix in its own parameters
    :param damping: λ ≥ 0
    :return: a function of a flat vector ``[N]`` that returns another
    """
    kept = [Linearization(chunks[0](), parameters)] if len(chunks) == 1 else None

    def product(vector: th.Tensor) -> th.Tensor:
        total, states = th.zeros_like(vector), 0
        for chunk in kept or (Linearization(run(), parameters) for run in chunks):
            total += chunk.vjp(family.fisher(chunk.at, chunk.jvp(vector)))
            states += len(chunk.at)
        return total / states + damping * vector

    return product
