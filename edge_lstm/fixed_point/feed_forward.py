"""Layers without a state in integers: dense, convolution, pooling."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import Activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.formats import INT8
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerDense, IntegerPool
from edge_lstm.fixed_point.rescaling import rescaling
from edge_lstm.fixed_point.weights import LARGEST, SMALLEST_SCALE, round_rows
from edge_lstm.network import Conv1d, Dense, Pool

Float64Array = npt.NDArray[np.float64]


def integer_dense(layer: Dense, input_scale: Float64Array, seen: float, *, last: bool, after_mean: bool, bits: str = "8") -> IntegerDense:
    """input_scale: [inputs] real value of one unit of each input; seen: largest |output| of calibration; bits: of a weight, "8" or "4".

    The last layer has one scale for all outputs, so that its accumulators can be compared as they are. Raises EdgeLstmError for an
    activation without integer form.
    """
    W, b = np.asarray(layer.W, np.float64) * input_scale, np.asarray(layer.b, np.float64)
    largest, levels = np.abs(W).max(1), LARGEST[bits]
    if last and layer.activation.kind == "identity":
        scale = np.full(layer.outputs, max(float(largest.max()) / levels, float(np.abs(b).max()) / 2**22, SMALLEST_SCALE))
        return IntegerDense(round_rows(W, scale, levels), np.floor(b / scale + 0.5).astype(np.int32), scale)
    if after_mean:
        raise EdgeLstmError(
            "a hidden dense layer behind a mean read-out has no integer form; read out the last step, or drop the hidden layer"
        )
    low = _lowest(layer.activation, "dense")
    scale = _row_scale(largest / levels, b)
    output = max(seen, 2.0**-6) / INT8
    limit, multiplier, shift = rescaling(scale / output, INT8)
    bias = np.floor(b / scale + 0.5).astype(np.int32)
    return IntegerDense(round_rows(W, scale, levels), bias, scale, limit, multiplier, shift, low, INT8, output)


def integer_convolution(layer: Conv1d, input_scale: Float64Array, seen: float) -> IntegerConv1d:
    """The same for a convolution over time, with one scale per output channel."""
    W, b = np.asarray(layer.W, np.float64) * input_scale[:, None], np.asarray(layer.b, np.float64)
    low = _lowest(layer.activation, "convolutional")
    scale = _row_scale(np.abs(W).max((1, 2)) / INT8, b)
    output = max(seen, 2.0**-6) / INT8
    limit, multiplier, shift = rescaling(scale / output, INT8)
    rounded = round_rows(W.reshape(layer.outputs, -1), scale, INT8).reshape(W.shape)
    bias = np.floor(b / scale + 0.5).astype(np.int32)
    return IntegerConv1d(rounded, bias, scale, limit, multiplier, shift, low, INT8, output, layer.stride, layer.padding, layer.dilation)


def pooling(layer: Pool) -> IntegerPool:
    """Pooling keeps its input's scale; an average multiplies by the rounded reciprocal of its size."""
    if layer.kind == "max":
        return IntegerPool("max", layer.size, layer.stride, layer.channels)
    shift = 16
    return IntegerPool("average", layer.size, layer.stride, layer.channels, (2**shift + layer.size // 2) // layer.size, shift)


def _row_scale(unit: Float64Array, b: Float64Array) -> Float64Array:
    return np.maximum.reduce([unit, np.abs(b) / 2**22, np.full(len(b), SMALLEST_SCALE)])


def _lowest(activation: Activation, layer: str) -> int:
    if activation.kind not in ("identity", "relu"):
        raise EdgeLstmError(f"a {layer} layer with activation {activation} has no integer form yet; use relu or none")
    return 0 if activation.kind == "relu" else -INT8
