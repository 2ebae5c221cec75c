"""The layers around recurrent ones: convolution, pooling and dense layers over time, for whole sequences and step by step.

The products are made by the floating-point matrix product of NumPy, which is exact here: the proofs bound every accumulator by 2^31, and
float64 holds integers up to 2^53.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.engine.reference import pool
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerDense, IntegerPool
from edge_lstm.fixed_point.operators import requantize

Int64Array = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer]
SteppedLayer = IntegerConv1d | IntegerPool | IntegerDense


def convolve(layer: IntegerConv1d, v: Integers) -> Int64Array:
    """Convolution over time of v: [batch, time, inputs], as `reference.convolve`."""
    padded = np.pad(v, ((0, 0), layer.padding, (0, 0)))
    steps = (padded.shape[1] - layer.reach) // layer.stride + 1
    taps = [padded[:, k * layer.dilation :][:, : (steps - 1) * layer.stride + 1 : layer.stride] for k in range(layer.W.shape[2])]
    return _convolved(layer, np.stack(taps, 3).reshape(len(v), steps, -1))


def _convolved(layer: IntegerConv1d, taps: Integers) -> Int64Array:
    """Outputs for the inputs under the kernel, taps: [..., inputs * kernel] in the order of W."""
    accumulator = _product(taps, layer.W.reshape(layer.outputs, -1)) + layer.bias
    return requantize(layer, accumulator)


def dense(layer: IntegerDense, v: Integers, times: int = 1) -> Int64Array:
    """W v + bias * times over the last axis of v, requantized to int8 where the layer says so, as `reference.dense`."""
    return requantize(layer, _product(v, layer.W) + layer.bias.astype(np.int64) * times)


def _product(v: Integers, W: npt.NDArray[np.int8]) -> Int64Array:
    return np.rint(v.astype(np.float64) @ W.astype(np.float64).T).astype(np.int64)


def apply(layer: SteppedLayer, v: Integers) -> Int64Array:
    """The layer on every step of v: [batch, time, inputs]."""
    if isinstance(layer, IntegerConv1d):
        return convolve(layer, v)
    return pool(layer, v.astype(np.int64)) if isinstance(layer, IntegerPool) else dense(layer, v)


class Stepped:
    """A layer that is fed one step at a time, for `count` sequences. It keeps the steps that its next outputs still need."""

    def __init__(self, layer: SteppedLayer, count: int):
        self.layer = layer
        self.span, self.stride, self.before = 1, 1, 0
        if isinstance(layer, IntegerConv1d):
            self.span, self.stride, self.before = layer.reach, layer.stride, layer.padding[0]
        elif isinstance(layer, IntegerPool):
            self.span, self.stride = layer.size, layer.stride
        self.kept = np.zeros((count, self.span, layer.inputs), np.int64)
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
            result = _convolved(self.layer, kept[:, :: self.layer.dilation].transpose(0, 2, 1).reshape(len(kept), self.layer.W[0].size))
        else:
            result = apply(self.layer, kept)[:, 0]
        return result.astype(np.int8), due
