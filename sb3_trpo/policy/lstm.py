"""An LSTM over sequences of several lengths, with J v written out: the linearisation of a recurrent actor.

PyTorch's own LSTM can be differentiated twice on a CPU and not on a GPU, and J v computed with it takes several times as
long as a pass. Along a direction, and backwards, an LSTM is a linear recursion whose coefficients are known from the forward
pass. All that is not recursion, products of inputs and of former outputs with the direction's weights, is one product for all
steps.

Rows are packed as PyTorch packs them: the first step of every sequence, longest sequence first, then every second step, and so
on, so that a pass takes as many small products as the longest sequence has steps, however many sequences there are.
"""

from collections.abc import Sequence
from typing import Any

import torch as th
from torch import nn


def packed_bounds(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """First row and the row behind the last, of each step, from the number of sequences that have it."""
    ends = th.tensor(list(sizes)).cumsum(0).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def twice_differentiable(
    lstm: nn.LSTM, inputs: th.Tensor, sizes: Sequence[int], states: tuple[th.Tensor, th.Tensor]
) -> th.Tensor:
    """Outputs ``[B, H]`` of the last layer in eval mode, from which u ↦ Jᵀu can be differentiated with respect to u.

    :param lstm: one-directional, without projection
    :param inputs: ``[B, n]``, packed
    :param sizes: sequences that have a first step, a second, …
    :param states: hidden and cell states that the sequences begin with, each ``[layers, S, H]``; constants
    """
    bounds = packed_bounds(sizes)
    for layer, (hidden, cell) in enumerate(zip(*states, strict=True)):
        weights = [getattr(lstm, f"weight_{kind}_l{layer}") for kind in ("ih", "hh")]
        bias = inputs.new_zeros(4 * lstm.hidden_size)
        if lstm.bias:
            bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        inputs = _Layer.apply(inputs, *weights, bias, hidden, cell, bounds)
    return inputs


class _Layer(th.autograd.Function):
    """c' = f c + i g, h' = o tanh(c') with (i, f, g, o) = (σ, σ, tanh, σ)(W x + U h + b); no gradient reaches h and c of the
    beginning."""

    @staticmethod
    def forward(
        ctx: Any, x: th.Tensor, w: th.Tensor, u: th.Tensor, b: th.Tensor, h: th.Tensor, c: th.Tensor, bounds: Any
    ) -> Any:
        size = h.shape[1]
        gates = th.addmm(b, x, w.T)
        outputs, before = gates.new_empty(len(x), size), gates.new_empty(len(x), size)
        cells, cells_before = th.empty_like(outputs), th.empty_like(outputs)
        recurrent = u.T.contiguous()
        for begin, end in bounds:
            h, c, rows = h[: end - begin], c[: end - begin], slice(begin, end)
            before[rows], cells_before[rows] = h, c
            i, f, g, o = gates[rows].addmm_(h, recurrent).chunk(4, dim=1)
            i.sigmoid_(), f.sigmoid_(), g.tanh_(), o.sigmoid_()
            c = th.addcmul(i * g, f, c)
            h = o * c.tanh()
            outputs[rows], cells[rows] = h, c
        # h' moves by k_o do + q dc', and c' by f dc + k_i di + k_f df + k_g dg, with di, df, dg, do those before σ and tanh
        i, f, g, o = gates.chunk(4, dim=1)
        squashed = cells.tanh_()
        to_output = o * (1.0 - squashed**2)
        coefficients = [g * i * (1.0 - i), cells_before * f * (1.0 - f), i * (1.0 - g**2), squashed * o * (1.0 - o)]
        ctx.bounds = bounds
        ctx.save_for_backward(x, w, u, before, f.contiguous(), to_output, th.cat(coefficients, dim=1))
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: th.Tensor) -> Any:
        x, *others = ctx.saved_tensors
        linear = (x.detach(), *(tensor.detach() for tensor in others))
        of_x, of_w, of_u, of_b = _Pullback.apply(gradients[0], linear, ctx.bounds, ctx.needs_input_grad[0])
        return of_x, of_w, of_u, of_b, None, None, None


class _Pullback(th.autograd.Function):
    """u ↦ Jᵀu of a layer; its own derivative along v is J v."""

    @staticmethod
    def forward(ctx: Any, gradient: th.Tensor, linear: Any, bounds: Any, with_inputs: bool) -> Any:
        ctx.linear, ctx.bounds = linear, bounds
        ctx.set_materialize_grads(False)
        x, w, u, before, forget, to_output, coefficients = linear
        size = gradient.shape[1]
        of_gates = th.empty_like(coefficients)
        n = bounds[0][1]
        of_h, of_c = gradient.new_zeros(n, size), gradient.new_zeros(n, size)
        for begin, end in reversed(bounds):
            n, rows = end - begin, slice(begin, end)
            h, c, here = of_h[:n], of_c[:n], of_gates[rows]
            h.add_(gradient[rows])
            c.addcmul_(to_output[rows], h)
            shaped, factors = here.view(n, 4, size), coefficients[rows].view(n, 4, size)
            th.mul(factors[:, :3], c[:, None], out=shaped[:, :3])
            th.mul(factors[:, 3], h, out=shaped[:, 3])
            th.mm(here, u, out=h)
            c.mul_(forget[rows])
        return of_gates @ w if with_inputs else None, of_gates.T @ x, of_gates.T @ before, of_gates.sum(dim=0)

    @staticmethod
    def backward(ctx: Any, *along: Any) -> Any:
        of_x, of_w, of_u, of_b = along
        x, w, u, before, forget, to_output, coefficients = ctx.linear
        size = forget.shape[1]
        moved = th.zeros_like(coefficients)  # of the gates, without what comes from the step before
        if of_x is not None:
            moved.addmm_(of_x, w.T)
        if of_w is not None:
            moved.addmm_(x, of_w.T)
        if of_u is not None:
            moved.addmm_(before, of_u.T)
        if of_b is not None:
            moved.add_(of_b)
        outputs, recurrent = th.empty_like(forget), u.T.contiguous()
        n = ctx.bounds[0][1]
        h, c = forget.new_zeros(n, size), forget.new_zeros(n, size)
        for begin, end in ctx.bounds:
            n, rows = end - begin, slice(begin, end)
            terms = moved[rows].addmm_(h[:n], recurrent).mul_(coefficients[rows]).view(n, 4, size)
            c = terms[:, :3].sum(dim=1).addcmul_(forget[rows], c[:n])
            h = th.addcmul(terms[:, 3], to_output[rows], c)
            outputs[rows] = h
        return outputs, None, None, None
