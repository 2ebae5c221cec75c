"""The matrix products of training: small, single-threaded, the same sums in the same order whatever the machine does besides.

Vectors of a layer lie as [units, batch], so that the innermost loop runs over the batch. Four rows and four columns of the weights are
held in registers meanwhile.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# error_model "numpy": a division needs no test for zero, which would keep its loop from being vectorized.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
_FORWARD: dict[str, Any] = {**OPTIONS, "cache": True}
# The sums over the batch may be split over the lanes of a vector register: a fixed order, but not the written one.
_SUMS: dict[str, Any] = {**_FORWARD, "fastmath": {"contract", "reassoc"}}


def kernel(**options: Any) -> Any:
    """numba.njit that does without the disk where Numba finds no folder for its cache."""

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(**options)(function)
        except RuntimeError:
            return numba.njit(**{**options, "cache": False})(function)

    return decorate


@kernel(**_FORWARD)
def accumulate(out: Array, weights: Array, source: Array) -> None:
    """out[r, b] += sum over k of weights[r, k] source[k, b]. All of one dtype; int32 and integer-valued float32 stay exact."""
    rows, depth = weights.shape
    batch = source.shape[1]
    whole, deep = rows - rows % 4, depth - depth % 4
    even = depth - depth % 2
    for r in range(0, whole, 4):
        o0, o1, o2, o3 = out[r], out[r + 1], out[r + 2], out[r + 3]
        for k in range(0, deep, 4):
            a0, a1, a2, a3 = weights[r, k], weights[r, k + 1], weights[r, k + 2], weights[r, k + 3]
            b0, b1, b2, b3 = weights[r + 1, k], weights[r + 1, k + 1], weights[r + 1, k + 2], weights[r + 1, k + 3]
            c0, c1, c2, c3 = weights[r + 2, k], weights[r + 2, k + 1], weights[r + 2, k + 2], weights[r + 2, k + 3]
            d0, d1, d2, d3 = weights[r + 3, k], weights[r + 3, k + 1], weights[r + 3, k + 2], weights[r + 3, k + 3]
            s0, s1, s2, s3 = source[k], source[k + 1], source[k + 2], source[k + 3]
            for b in range(batch):
                x0, x1, x2, x3 = s0[b], s1[b], s2[b], s3[b]
                o0[b] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                o1[b] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                o2[b] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                o3[b] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3
        for k in range(deep, even, 2):
            a0, a1 = weights[r, k], weights[r, k + 1]
            b0, b1 = weights[r + 1, k], weights[r + 1, k + 1]
            c0, c1 = weights[r + 2, k], weights[r + 2, k + 1]
            d0, d1 = weights[r + 3, k], weights[r + 3, k + 1]
            s0, s1 = source[k], source[k + 1]
            for b in range(batch):
                x0, x1 = s0[b], s1[b]
                o0[b] += a0 * x0 + a1 * x1
                o1[b] += b0 * x0 + b1 * x1
                o2[b] += c0 * x0 + c1 * x1
                o3[b] += d0 * x0 + d1 * x1
        for k in range(even, depth):
            a0, b0, c0, d0 = weights[r, k], weights[r + 1, k], weights[r + 2, k], weights[r + 3, k]
            s0 = source[k]
            for b in range(batch):
                x0 = s0[b]
                o0[b] += a0 * x0
                o1[b] += b0 * x0
                o2[b] += c0 * x0
                o3[b] += d0 * x0
    for r in range(whole, rows):
        o0 = out[r]
        for k in range(depth):
            a0 = weights[r, k]
            s0 = source[k]
            for b in range(batch):
                o0[b] += a0 * s0[b]


@kernel(**_SUMS)
def accumulate_outer(out: Array, left: Array, first: int, right: Array, start: int) -> None:
    """out[r, k] += sum over steps and batch of left[t, first + r, b] right[t, start + k, b]: the gradient of a weight matrix."""
    steps, _, batch = left.shape
    rows, columns = out.shape
    whole, wide = rows - rows % 4, columns - columns % 4
    for t in range(steps):
        for r in range(0, whole, 4):
            at = first + r
            l0, l1, l2, l3 = left[t, at], left[t, at + 1], left[t, at + 2], left[t, at + 3]
            for k in range(0, wide, 4):
                on = start + k
                r0, r1, r2, r3 = right[t, on], right[t, on + 1], right[t, on + 2], right[t, on + 3]
                a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = out.dtype.type(0)
                c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = out.dtype.type(0)
                for b in range(batch):
                    x0, x1, x2, x3 = r0[b], r1[b], r2[b], r3[b]
                    y0, y1, y2, y3 = l0[b], l1[b], l2[b], l3[b]
                    a0 += y0 * x0
                    a1 += y0 * x1
                    a2 += y0 * x2
                    a3 += y0 * x3
                    b0 += y1 * x0
                    b1 += y1 * x1
                    b2 += y1 * x2
                    b3 += y1 * x3
                    c0 += y2 * x0
                    c1 += y2 * x1
                    c2 += y2 * x2
                    c3 += y2 * x3
                    d0 += y3 * x0
                    d1 += y3 * x1
                    d2 += y3 * x2
                    d3 += y3 * x3
                out[r, k] += a0
                out[r, k + 1] += a1
                out[r, k + 2] += a2
                out[r, k + 3] += a3
                out[r + 1, k] += b0
                out[r + 1, k + 1] += b1
                out[r + 1, k + 2] += b2
                out[r + 1, k + 3] += b3
                out[r + 2, k] += c0
                out[r + 2, k + 1] += c1
                out[r + 2, k + 2] += c2
                out[r + 2, k + 3] += c3
                out[r + 3, k] += d0
                out[r + 3, k + 1] += d1
                out[r + 3, k + 2] += d2
                out[r + 3, k + 3] += d3
            for k in range(wide, columns):
                r0 = right[t, start + k]
                a0 = b0 = c0 = d0 = out.dtype.type(0)
                for b in range(batch):
                    x0 = r0[b]
                    a0 += l0[b] * x0
                    b0 += l1[b] * x0
                    c0 += l2[b] * x0
                    d0 += l3[b] * x0
                out[r, k] += a0
                out[r + 1, k] += b0
                out[r + 2, k] += c0
                out[r + 3, k] += d0
        for r in range(whole, rows):
            for k in range(columns):
                a0 = out.dtype.type(0)
                for b in range(batch):
                    a0 += left[t, first + r, b] * right[t, start + k, b]
                out[r, k] += a0


@kernel(**_SUMS)
def accumulate_sum(out: Array, values: Array, first: int) -> None:
    """out[r] += sum over steps and batch of values[t, first + r, b]: the gradient of a bias."""
    steps, _, batch = values.shape
    for t in range(steps):
        for r in range(out.shape[0]):
            total = out.dtype.type(0)
            for b in range(batch):
                total += values[t, first + r, b]
            out[r] += total


@kernel(**_FORWARD)
def spread(values: Array, batch: int) -> Array:
    """[units] -> [units * batch], each value `batch` times: constants of the units, in the layout of the vectors."""
    out = np.empty(values.shape[0] * batch, values.dtype)
    for u in range(values.shape[0]):
        for b in range(batch):
            out[u * batch + b] = values[u]
    return out
