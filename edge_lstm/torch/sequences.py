"""A whole layer over a whole sequence, forward and backward, each equation next to its gradient.

Autograd would keep a node for each of some ten operators of each step. Written out, the backward pass does once for all steps whatever does
not depend on the step behind: of a step remain the few operators along the recurrence.

Sequences lie one step behind the other, [sum of sizes, ...], as in a `PackedSequence`: at step t the first `sizes[t]` sequences are
still running, and sizes never grow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edge_lstm.errors import EdgeLstmError
from edge_lstm.torch.gates import Gates, Squashing


def _before(first: Tensor, values: Tensor, sizes: list[int]) -> Tensor:
    """What every step finds: the value of the step before, of the sequences that are still running."""
    blocks = (first, *values.split(sizes)[:-1])
    return torch.cat([block[:running] for block, running in zip(blocks, sizes, strict=True)])


def _final(values: Tensor, sizes: list[int]) -> Tensor:
    """[batch, units]: the value after the last step of each sequence; the shortest sequences are the last of the batch."""
    blocks = values.split(sizes)
    ends = zip(blocks, [*sizes[1:], 0], strict=True)
    return torch.cat([block[running:] for block, running in ends][::-1])


def _grown(gradient: Tensor, final: Tensor, running: int) -> Tensor:
    """The gradient that comes from the step behind, and for sequences that end here the one of their final state."""
    return gradient if len(gradient) == running else torch.cat((gradient, final[len(gradient) : running]))


def _once() -> None:
    """Refuses create_graph=True: the gradients made here would enter a further derivative as if they were constants."""
    if torch.is_grad_enabled():
        raise EdgeLstmError("the hard modules have no second derivative; call backward or grad without create_graph")


class LSTMSequence(torch.autograd.Function):
    """h, h_n, c_n and the gates of all steps from product = W x + b; columns of product and rows of R: the gates as `Gates` has them, g.

    i, f, o: positions of the gates.
    """

    @staticmethod
    def forward(
        ctx: Any, product: Tensor, R: Tensor, h_0: Tensor, c_0: Tensor, sizes: list[int], gates: Gates, places: tuple[int, int, int],
        candidate: Squashing, squash: Squashing,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        units = R.shape[1]
        a, opened = torch.empty_like(product), product.new_empty(len(product), 3 * units)
        g, c, squashed, h = (product.new_empty(len(product), units) for _ in range(4))
        i, f, o = (opened[:, k * units : (k + 1) * units].split(sizes) for k in places)
        a_gates, a_g = a[:, : 3 * units].split(sizes), a[:, 3 * units :].split(sizes)
        products, a_steps, opened_steps = product.split(sizes), a.split(sizes), opened.split(sizes)
        g_steps, c_steps, squashed_steps, h_steps = (values.split(sizes) for values in (g, c, squashed, h))
        last_h, last_c, transposed = h_0, c_0, R.t()
        for t, running in enumerate(sizes):
            torch.addmm(products[t], last_h[:running], transposed, out=a_steps[t])
            gates.open(a_gates[t], opened_steps[t])
            candidate.value(a_g[t], out=g_steps[t])
            torch.mul(f[t], last_c[:running], out=c_steps[t]).addcmul_(i[t], g_steps[t])
            squash.value(c_steps[t], out=squashed_steps[t])
            torch.mul(o[t], squashed_steps[t], out=h_steps[t])
            last_h, last_c = h_steps[t], c_steps[t]
        ctx.save_for_backward(R, h_0, c_0, a, opened, g, c, squashed, h)
        ctx.settings = sizes, gates, places, candidate, squash
        ctx.set_materialize_grads(False)
        return h, _final(h, sizes), _final(c, sizes), opened

    @staticmethod
    def backward(ctx: Any, d_h: Tensor | None, d_h_n: Tensor | None, d_c_n: Tensor | None, d_opened: Tensor | None) -> tuple[Any, ...]:
        _once()
        R, h_0, c_0, a, opened, g, c, squashed, h = ctx.saved_tensors
        sizes, gates, places, candidate, squash = ctx.settings
        units = R.shape[1]
        slopes = torch.cat((gates.slopes(a[:, : 3 * units], opened), candidate.slope(a[:, 3 * units :], g)), 1).view(-1, 4, units)
        i, f, o = (opened[:, k * units : (k + 1) * units] for k in places)
        # d_a = factor * d_c for i, f and g, and factor * d_h for o.
        factor = torch.empty_like(slopes)
        for place, partner in zip((*places, 3), (g, _before(c_0, c, sizes), squashed, i), strict=True):
            torch.mul(slopes[:, place], partner, out=factor[:, place])
        direct = None if d_opened is None else (d_opened.view(-1, 3, units) * slopes[:, :3]).split(sizes)
        d_a = torch.empty_like(factor)
        steps, o_steps, f_steps = d_a.split(sizes), d_a[:, places[2]].split(sizes), f.split(sizes)
        factors, o_factors, to_cell = factor.split(sizes), factor[:, places[2]].split(sizes), (o * squash.slope(c, squashed)).split(sizes)
        outer = None if d_h is None else d_h.split(sizes)
        end_h, end_c = (torch.zeros_like(h_0) if end is None else end for end in (d_h_n, d_c_n))
        back_h, back_c = end_h[:0], end_c[:0]
        for t in reversed(range(len(sizes))):
            total = _grown(back_h, end_h, sizes[t])
            if outer is not None:
                total = total + outer[t]
            cell = torch.addcmul(_grown(back_c, end_c, sizes[t]), total, to_cell[t])
            torch.mul(factors[t], cell[:, None], out=steps[t])
            torch.mul(o_factors[t], total, out=o_steps[t])
            if direct is not None:
                steps[t][:, :3] += direct[t]
            back_h, back_c = steps[t].view(-1, 4 * units) @ R, cell * f_steps[t]
        rows = d_a.view(-1, 4 * units)
        return rows, rows.t() @ _before(h_0, h, sizes), back_h, back_c, None, None, None, None, None


class GRUSequence(torch.autograd.Function):
    """h, h_n and the gates of all steps from product = W x + b; columns of product and rows of R: the gates as `Gates` has them, n.

    The reset gate multiplies after the recurrent product. r, z: positions of the gates.
    """

    @staticmethod
    def forward(
        ctx: Any, product: Tensor, R: Tensor, b: Tensor | None, h_0: Tensor, sizes: list[int], gates: Gates, places: tuple[int, int],
        candidate: Squashing,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        units = R.shape[1]
        recurrent = torch.empty_like(product)
        a, opened = (product.new_empty(len(product), 2 * units) for _ in range(2))
        a_n, n, h = (product.new_empty(len(product), units) for _ in range(3))
        r, z = (opened[:, k * units : (k + 1) * units].split(sizes) for k in places)
        x_gates, x_n = product[:, : 2 * units].split(sizes), product[:, 2 * units :].split(sizes)
        h_gates, h_n = recurrent[:, : 2 * units].split(sizes), recurrent[:, 2 * units :].split(sizes)
        recurrent_steps, a_steps, opened_steps = recurrent.split(sizes), a.split(sizes), opened.split(sizes)
        a_n_steps, n_steps, h_steps = a_n.split(sizes), n.split(sizes), h.split(sizes)
        last, transposed = h_0, R.t()
        for t, running in enumerate(sizes):
            last = last[:running]
            if b is None:
                torch.mm(last, transposed, out=recurrent_steps[t])
            else:
                torch.addmm(b, last, transposed, out=recurrent_steps[t])
            torch.add(x_gates[t], h_gates[t], out=a_steps[t])
            gates.open(a_steps[t], opened_steps[t])
            torch.addcmul(x_n[t], r[t], h_n[t], out=a_n_steps[t])
            candidate.value(a_n_steps[t], out=n_steps[t])
            last = torch.lerp(n_steps[t], last, z[t], out=h_steps[t])  # n + z (h - n), and exactly h where z = 1
        ctx.save_for_backward(R, h_0, recurrent, a, opened, a_n, n, h)
        ctx.settings = sizes, gates, places, candidate, b is not None
        ctx.set_materialize_grads(False)
        return h, _final(h, sizes), opened

    @staticmethod
    def backward(ctx: Any, d_h: Tensor | None, d_h_n: Tensor | None, d_opened: Tensor | None) -> tuple[Any, ...]:
        _once()
        R, h_0, recurrent, a, opened, a_n, n, h = ctx.saved_tensors
        sizes, gates, places, candidate, has_bias = ctx.settings
        units = R.shape[1]
        slopes, before = gates.slopes(a, opened).view(-1, 2, units), _before(h_0, h, sizes)
        r, z = (opened[:, k * units : (k + 1) * units] for k in places)
        # d_a = factor * d_h, for the two gates, for Rn h + bRn, and for Wn x + bn.
        factor = a.new_empty(len(a), 4, units)
        torch.mul(1 - z, candidate.slope(a_n, n), out=factor[:, 3])
        torch.mul(factor[:, 3], r, out=factor[:, 2])
        torch.mul(factor[:, 3] * recurrent[:, 2 * units :], slopes[:, places[0]], out=factor[:, places[0]])
        torch.mul(before - n, slopes[:, places[1]], out=factor[:, places[1]])
        direct = None if d_opened is None else (d_opened.view(-1, 2, units) * slopes).split(sizes)
        d_a = torch.empty_like(factor)
        flat = d_a.view(-1, 4 * units)
        steps, recurrent_steps = d_a.split(sizes), flat[:, : 3 * units].split(sizes)
        factors, z_steps = factor.split(sizes), z.split(sizes)
        outer = None if d_h is None else d_h.split(sizes)
        end = torch.zeros_like(h_0) if d_h_n is None else d_h_n
        back = end[:0]
        for t in reversed(range(len(sizes))):
            total = _grown(back, end, sizes[t])
            if outer is not None:
                total = total + outer[t]
            torch.mul(factors[t], total[:, None], out=steps[t])
            if direct is not None:
                steps[t][:, :2] += direct[t]
            back = torch.addmm(total * z_steps[t], recurrent_steps[t], R)
        rows = flat[:, : 3 * units]
        d_product = torch.cat((flat[:, : 2 * units], flat[:, 3 * units :]), 1)
        return d_product, rows.t() @ before, rows.sum(0) if has_bias else None, back, None, None, None, None
