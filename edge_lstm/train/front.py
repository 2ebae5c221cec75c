"""Convolution, pooling and dense layers in front of the recurrent ones: their passes in floats, and forward in integers.

Arrays lie as [time, channels, batch]. A dense layer is a convolution over one step. The backward pass is that of the float layers, at
the real values of the integers where these are in the loop (straight-through across rounding).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_lstm.fixed_point.feed_forward import integer_convolution, integer_dense, pooling
from edge_lstm.fixed_point.formats import INT8
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerDense, IntegerPool
from edge_lstm.fixed_point.operators import requantize, round_shift
from edge_lstm.network import Conv1d, Dense, Layer, Pool, steps_through
from edge_lstm.train.head import derivative
from edge_lstm.train.parameters import with_vector
from edge_lstm.train.products import OPTIONS, accumulate, accumulate_outer, accumulate_sum, kernel

Array = npt.NDArray[Any]
_EXACT = 2**24  # integers of smaller magnitude are exact in float32


@kernel(cache=True, **OPTIONS)
def _convolve(out: Array, weights: Array, bias: Array, x: Array, stride: int, dilation: int) -> None:
    """out[t] = bias + sum over k of weights[k] x[t stride + k dilation]; weights: [kernel, outputs, inputs]; x: padded."""
    steps, outputs, batch = out.shape
    for t in range(steps):
        now = out[t]
        for o in range(outputs):
            for b in range(batch):
                now[o, b] = bias[o]
        for k in range(weights.shape[0]):
            accumulate(now, weights[k], x[t * stride + k * dilation])


@kernel(cache=True, **OPTIONS)
def _convolve_adjoint(d: Array, transposed: Array, x: Array, stride: int, dilation: int, d_weights: Array, d_x: Array) -> None:
    """Adds to the adjoints of weights [kernel, outputs, inputs] and, where d_x has steps, of x. transposed: [kernel, inputs, outputs]."""
    for t in range(d.shape[0]):
        for k in range(transposed.shape[0]):
            at = t * stride + k * dilation
            accumulate_outer(d_weights[k], d[t : t + 1], 0, x[at : at + 1], 0)
            if d_x.shape[0] > 0:
                accumulate(d_x[at], transposed[k], d[t])


@kernel(cache=True, **OPTIONS)
def _requantize(
    out: Array, real: Array, accumulator: Array, limit: Array, multiplier: Array, shift: int, low: int, high: int, unit: Any
) -> None:
    """`operators.requantize` without a curve: out in integers, real = out * unit."""
    half = (1 << shift) >> 1
    steps, outputs, batch = out.shape
    for t in range(steps):
        for o in range(outputs):
            most, factor = limit[o], multiplier[o]
            for b in range(batch):
                v = min(max(np.int32(accumulator[t, o, b]), -most), most)
                v = min(max((v * factor + half) >> shift, low), high)
                out[t, o, b] = v
                real[t, o, b] = v * unit


class _Convolution:
    """A convolution or a dense layer, its part of the trained numbers, and what the last forward pass left: padded input and output."""

    def __init__(self, layer: Conv1d | Dense, part: slice, steps: int, batch: int, dtype: type) -> None:
        self.layer, self.part, self.dtype = layer, part, dtype
        before, after = layer.padding if isinstance(layer, Conv1d) else (0, 0)
        self.inside = slice(before, before + steps)
        self.stride, self.dilation = (layer.stride, layer.dilation) if isinstance(layer, Conv1d) else (1, 1)
        self.x: Array = np.zeros((steps + before + after, layer.inputs, batch), dtype)
        self.y: Array = np.zeros((steps_through([layer], steps), layer.outputs, batch), dtype)

    def taps(self, W: Array) -> Array:
        """[kernel, outputs, inputs] of the layer's own W."""
        return np.ascontiguousarray(W[None] if W.ndim == 2 else W.transpose(2, 0, 1))

    def forward(self, vector: Array, x: Array) -> Array:
        layer = with_vector(self.layer, vector[self.part])
        self.x[self.inside] = x
        _convolve(self.y, self.taps(layer.W).astype(self.dtype), layer.b.astype(self.dtype), self.x, self.stride, self.dilation)
        self.y[:] = layer.activation(self.y)
        return self.y

    def backward(self, vector: Array, d: Array, gradient: Array, to_input: bool) -> Array:
        """Adds to `gradient`; returns the adjoint of the input, without steps when it is not wanted."""
        layer = with_vector(self.layer, vector[self.part])
        d = np.ascontiguousarray(d * derivative(layer.activation, self.y), self.dtype)
        taps: Array = self.taps(layer.W).astype(self.dtype)
        d_taps = np.zeros_like(taps)
        d_x: Array = np.zeros(self.x.shape if to_input else (0, *self.x.shape[1:]), self.dtype)
        _convolve_adjoint(d, np.ascontiguousarray(taps.transpose(0, 2, 1)), self.x, self.stride, self.dilation, d_taps, d_x)
        own = with_vector(self.layer, gradient[self.part])  # views
        own.W[:] += d_taps[0] if own.W.ndim == 2 else d_taps.transpose(1, 2, 0)
        accumulate_sum(own.b, d, 0)
        return d_x[self.inside] if to_input else d_x


class _Pooling:
    """A pooling, and the input and output of its last forward pass."""

    part = None

    def __init__(self, layer: Pool, steps: int, batch: int, dtype: type) -> None:
        self.layer = layer
        self.x: Array = np.zeros((steps, layer.channels, batch), dtype)
        self.y: Array = np.zeros((steps_through([layer], steps), layer.channels, batch), dtype)

    def windows(self, x: Array) -> Iterator[Array]:
        """Of each of the `size` places within a window the steps that stand there, as views."""
        for k in range(self.layer.size):
            yield x[k : k + (len(self.y) - 1) * self.layer.stride + 1 : self.layer.stride]

    def forward(self, vector: Array, x: Array) -> Array:
        self.x[:] = x
        parts = np.stack(list(self.windows(self.x)))
        self.y[:] = parts.mean(0) if self.layer.kind == "average" else parts.max(0)
        return self.y

    def backward(self, vector: Array, d: Array, gradient: Array, to_input: bool) -> Array:
        d_x = np.zeros_like(self.x)
        if self.layer.kind == "average":
            for part in self.windows(d_x):
                part += d / self.layer.size
            return d_x
        free = np.ones(d.shape, np.bool_)  # the first of equal values has it
        for part, values in zip(self.windows(d_x), self.windows(self.x), strict=True):
            here = free & (values == self.y)
            part += d * here
            free &= ~here
        return d_x


class Front:
    """The layers in front, over batches of `batch` sequences of `steps` steps. parts: of each layer in the trained numbers."""

    def __init__(self, layers: Sequence[Layer], parts: Sequence[slice | None], steps: int, batch: int, dtype: type) -> None:
        self.layers: list[_Convolution | _Pooling] = []
        for layer, part in zip(layers, parts, strict=True):
            if isinstance(layer, Conv1d | Dense) and part is not None:
                self.layers.append(_Convolution(layer, part, steps, batch, dtype))
            elif isinstance(layer, Pool):
                self.layers.append(_Pooling(layer, steps, batch, dtype))
            steps = len(self.layers[-1].y)

    def forward(self, vector: Array, x: Array) -> Array:
        """What the first recurrent layer reads, for x [time, inputs, batch]."""
        for layer in self.layers:
            x = layer.forward(vector, x)
        return x

    def backward(self, vector: Array, d: Array, gradient: Array) -> None:
        """Adds to `gradient`, for the adjoint d of what the first recurrent layer read in the last forward pass."""
        for index in reversed(range(len(self.layers))):
            d = self.layers[index].backward(vector, d, gradient, index > 0)

    def ranges(self) -> list[float]:
        """Of each convolution and dense layer the largest magnitude of its output in the last forward pass."""
        return [float(np.abs(layer.y).max()) for layer in self.layers if isinstance(layer, _Convolution)]


@dataclass(frozen=True)
class _Integers:
    """One layer in integers. scale: [outputs] real value of one unit of its output; taps, bias: of a convolution, in the product type."""

    layer: IntegerConv1d | IntegerDense | IntegerPool
    scale: Array
    taps: Array
    bias: Array


class IntegerFront:
    """`Front` with the integer layers in the forward pass. seen: ranges of its convolutions and dense layers; bits: of dense weights."""

    def __init__(self, front: Front, seen: Sequence[float], bits: str) -> None:
        self.front, self.seen, self.bits = front, seen, bits
        self._layers: list[_Integers] = []

    def refresh(self, vector: Array, represented: Array, scale: Array) -> Array:
        """Quantizes the trained numbers, and writes what the integers represent; scale: of the input. Returns that of the output."""
        self._layers = []
        seen = iter(self.seen)
        for one in self.front.layers:
            if isinstance(one, _Pooling):
                self._layers.append(_Integers(pooling(one.layer), scale, np.zeros(0), np.zeros(0)))
                continue
            floats = with_vector(one.layer, vector[one.part])
            made: IntegerConv1d | IntegerDense
            if isinstance(floats, Dense):
                made = integer_dense(floats, scale, next(seen), last=False, bits=self.bits)
            else:
                made = integer_convolution(floats, scale, next(seen))
            axes = (slice(None), *(None,) * (made.W.ndim - 1))
            W = made.W * made.scale[axes] / (scale if made.W.ndim == 2 else scale[:, None])
            represented[one.part] = np.concatenate([W.ravel(), made.bias * made.scale])
            reach = np.abs(made.W.astype(np.int64)).reshape(len(made.W), -1).sum(1) * INT8 + np.abs(made.bias.astype(np.int64))
            kind = np.float32 if int(reach.max()) < _EXACT else np.int32
            scale = np.full(made.outputs, made.output_scale)
            self._layers.append(_Integers(made, scale, one.taps(made.W).astype(kind), made.bias.astype(kind)))
        return scale

    def forward(self, x8: Array, x: Array) -> tuple[Array, Array]:
        """(integers, their real values) that the first recurrent layer reads. x8: [time, inputs, batch]; x: its real values."""
        v = x8
        for one, integers in zip(self.front.layers, self._layers, strict=True):
            if isinstance(one, _Convolution):
                v, x = self._convolved(one, integers, v, x)
            else:
                v, x = self._pooled(one, integers, v, x)
        return v, x

    @staticmethod
    def _convolved(one: _Convolution, integers: _Integers, v: Array, x: Array) -> tuple[Array, Array]:
        layer = integers.layer
        assert isinstance(layer, IntegerConv1d | IntegerDense)
        assert layer.limit is not None
        assert layer.multiplier is not None
        padded = np.zeros(one.x.shape, integers.taps.dtype)
        padded[one.inside] = v
        accumulator = np.empty(one.y.shape, integers.taps.dtype)
        _convolve(accumulator, integers.taps, integers.bias, padded, one.stride, one.dilation)
        one.x[one.inside] = x
        out = np.empty(one.y.shape, np.int8)
        if layer.curve is None:
            numbers = layer.limit, layer.multiplier, layer.shift, layer.low, layer.high, np.float32(layer.output_scale)
            _requantize(out, one.y, accumulator, *numbers)
        else:
            out[:] = requantize(layer, accumulator.transpose(0, 2, 1).astype(np.int64)).transpose(0, 2, 1)
            one.y[:] = out * np.float32(layer.output_scale)
        return out, one.y

    @staticmethod
    def _pooled(one: _Pooling, integers: _Integers, v: Array, x: Array) -> tuple[Array, Array]:
        layer = integers.layer
        assert isinstance(layer, IntegerPool)
        one.x[:] = x
        parts = np.stack(list(one.windows(v)))
        if layer.kind == "max":
            out = parts.max(0)
        else:
            out = round_shift(parts.astype(np.int64).sum(0) * layer.multiplier, layer.shift).astype(np.int8)
        one.y[:] = out * integers.scale.astype(np.float32)[:, None]
        return out, one.y
