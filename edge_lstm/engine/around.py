"""The layers around recurrent ones: convolution, pooling and dense layers over time, for whole sequences and step by step.

The products are made by the floating-point matrix product of NumPy, which is exact here: the proofs bound every accumulator by 2^31, and
float64 holds integers up to 2^53.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.batch import all_rows, first_rows
from edge_lstm.engine.reference import pool
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerDense, IntegerPool, IntegerReadOut, input_width
from edge_lstm.fixed_point.operators import average, join, requantize

Int64Array = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer]
SteppedLayer = IntegerConv1d | IntegerPool | IntegerDense


def _convolved(layer: IntegerConv1d, taps: Integers) -> Int64Array:
    """Outputs for the inputs under the kernel, taps: [..., inputs * kernel] in the order of W."""
    accumulator = _product(taps, layer.W.reshape(layer.outputs, -1)) + layer.bias
    return requantize(layer, accumulator)


def dense(layer: IntegerDense, v: Integers, times: int | Int64Array = 1) -> Int64Array:
    """W v + bias * times over the last axis of v, requantized to int8 where the layer says so, as `reference.dense`."""
    return requantize(layer, _product(join(v) if layer.wide else v, layer.W) + layer.bias.astype(np.int64) * times)


def _product(v: Integers, W: npt.NDArray[np.int8]) -> Int64Array:
    return np.rint(v.astype(np.float64) @ W.astype(np.float64).T).astype(np.int64)


def over_sequences(layer: SteppedLayer, v: Integers, steps: Int64Array) -> tuple[Integers, Int64Array]:
    """The layer on sequences of v: [rows, inputs], one after the other, steps: [batch] of each; its outputs in the same form."""
    if isinstance(layer, IntegerDense):
        return dense(layer, v), steps
    if isinstance(layer, IntegerPool):
        first, made = _firsts(steps, layer.size, layer.stride)
        return pool(layer, v[first[:, None] + np.arange(layer.size)].astype(np.int64))[:, 0], made
    v, (before, after) = join(v) if layer.wide else v, layer.padding
    long = steps + before + after
    padded = np.zeros((int(long.sum()), layer.inputs), v.dtype)
    padded[all_rows(first_rows(long) + before, steps)] = v
    first, made = _firsts(long, layer.reach, layer.stride)
    taps = padded[first[:, None] + layer.dilation * np.arange(layer.W.shape[2])]
    return _convolved(layer, taps.transpose(0, 2, 1).reshape(len(taps), -1)), made


def _firsts(steps: Int64Array, span: int, stride: int) -> tuple[Int64Array, Int64Array]:
    """The first row that each output reads, and the number of outputs of each sequence."""
    made = (steps - span) // stride + 1
    within = np.arange(made.sum()) - np.repeat(first_rows(made), made)
    return np.repeat(first_rows(steps), made) + stride * within, made


def read_out(layer: IntegerReadOut, v: Integers, steps: Int64Array, backward: int) -> Integers:
    """`reference.read_out` of sequences in v: [rows, units], one after the other: one row a sequence, or all of them."""
    if layer.kind == "every":
        return v
    firsts = first_rows(steps)
    if layer.kind == "mean":
        sums = np.add.reduceat(v.astype(np.int64), firsts, 0)
        return sums if layer.gain is None else average(sums, steps[:, None], layer.gain)
    last = v[firsts + steps - 1]
    if layer.kind == "last" or not backward:
        return last
    return np.concatenate([last[:, :-backward], v[firsts, -backward:]], 1)


class Stepped:
    """A layer that is fed one step at a time, for `count` sequences. It keeps the steps that its next outputs still need."""

    def __init__(self, layer: SteppedLayer, count: int):
        self.layer = layer
        self.span, self.stride, self.before = 1, 1, 0
        if isinstance(layer, IntegerConv1d):
            self.span, self.stride, self.before = layer.reach, layer.stride, layer.padding[0]
        elif isinstance(layer, IntegerPool):
            self.span, self.stride = layer.size, layer.stride
        self.kept = np.zeros((count, self.span, input_width(layer)), np.int64)
        self.seen = np.full(count, self.before)

    def reset(self, which: Int64Array | None) -> None:
        chosen = slice(None) if which is None else which
        self.kept[chosen] = 0
        self.seen[chosen] = self.before

    def feed(self, x: npt.NDArray[np.int8], which: Int64Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
        """One step of the input [streams, inputs] for the streams `which`; the output int8 [due, outputs], and where one is due."""
        kept = np.concatenate([self.kept[which, 1:], x[:, None]], 1)
        self.kept[which] = kept
        self.seen[which] += 1
        seen = self.seen[which]
        due = (seen >= self.span) & ((seen - self.span) % self.stride == 0)
        kept = kept[due]
        if isinstance(self.layer, IntegerConv1d):  # the padding has been counted already
            kept = join(kept) if self.layer.wide else kept
            result = _convolved(self.layer, kept[:, :: self.layer.dilation].transpose(0, 2, 1).reshape(len(kept), self.layer.W[0].size))
        else:
            result = pool(self.layer, kept)[:, 0] if isinstance(self.layer, IntegerPool) else dense(self.layer, kept[:, 0])
        return result.astype(np.int8), due
