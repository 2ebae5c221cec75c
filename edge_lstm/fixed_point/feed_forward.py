"""Layers without a state in integers: dense, convolution, pooling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_lstm.cells import FEED_FORWARD_ONLY, Activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.curve import Curve
from edge_lstm.fixed_point.formats import INT8, PREACTIVATION, bent, sampled
from edge_lstm.fixed_point.integer_network import HALF_BITS, IntegerConv1d, IntegerDense, IntegerPool
from edge_lstm.fixed_point.rescaling import Rescaling, rescaling
from edge_lstm.fixed_point.weights import LARGEST, SMALLEST_SCALE, WIDEST, round_rows
from edge_lstm.network import Conv1d, Dense, Pool

Float64Array = npt.NDArray[np.float64]
LINES = ("identity", "relu", "clamp", "hard_tanh", "hard_sigmoid")  # activations that are a straight line between two limits
CURVES = ("sigmoid", "tanh", "softsign", "scaled_sigmoid", *FEED_FORWARD_ONLY)


def integer_dense(layer: Dense, input_scale: Float64Array, seen: float, *, last: bool, bits: str = "8", wide: bool = False) -> IntegerDense:
    """input_scale: [inputs] real value of one unit of each input; seen: largest |output| of calibration; bits: of a weight, "8" or "4";
    wide: the inputs have 16 bits.

    The last layer has one scale for all outputs, so that its accumulators can be compared as they are. Raises EdgeLstmError for an
    activation without integer form.
    """
    W, b = np.asarray(layer.W, np.float64) * input_scale, np.asarray(layer.b, np.float64)
    largest, levels = np.abs(W).max(1), LARGEST[bits]
    if gives_scores(layer, last):
        scale = np.full(layer.outputs, max(float(largest.max()) / levels, float(np.abs(b).max()) / 2**22, SMALLEST_SCALE))
        return IntegerDense(round_rows(W, scale, levels), np.floor(b / scale + 0.5).astype(np.int32), scale)
    form = _squashed(layer.activation, b, _unit(W, levels, wide), seen)
    rounded = round_rows(W, form.scale, levels)
    return IntegerDense(rounded, form.bias, form.scale, *form.rescaling, form.low, form.high, form.output, form.curve, wide)


def gives_scores(layer: Dense, last: bool) -> bool:
    """Whether the layer leaves its accumulators as they are, and may so read sums in place of means."""
    return last and layer.activation.kind == "identity"


def integer_convolution(layer: Conv1d, input_scale: Float64Array, seen: float, wide: bool = False) -> IntegerConv1d:
    """The same for a convolution over time, with one scale per output channel."""
    W, b = np.asarray(layer.W, np.float64) * input_scale[:, None], np.asarray(layer.b, np.float64)
    form = _squashed(layer.activation, b, _unit(W.reshape(layer.outputs, -1), INT8, wide), seen)
    return IntegerConv1d(
        round_rows(W.reshape(layer.outputs, -1), form.scale, INT8).reshape(W.shape), form.bias, form.scale, *form.rescaling,
        form.low, form.high, form.output, layer.stride, layer.padding, layer.dilation, form.curve, wide,
    )  # fmt: skip


def pooling(layer: Pool) -> IntegerPool:
    """Pooling keeps its input's scale; an average multiplies by the rounded reciprocal of its size."""
    if layer.kind == "max":
        return IntegerPool("max", layer.size, layer.stride, layer.channels)
    shift = 16
    return IntegerPool("average", layer.size, layer.stride, layer.channels, (2**shift + layer.size // 2) // layer.size, shift)


@dataclass(frozen=True)
class _Squashed:
    """From the accumulators of a layer to its int8 outputs.

    scale: [outputs] real value of one unit of each accumulator; output: of the result.
    """

    scale: Float64Array
    bias: npt.NDArray[np.int32]
    rescaling: Rescaling
    low: int
    high: int
    output: float
    curve: Curve | None = None


def _squashed(activation: Activation, b: Float64Array, unit: Float64Array, seen: float) -> _Squashed:
    """unit: [outputs] smallest real value of one unit of each accumulator at which the weights fit; seen: largest |output| of calibration.

    A straight line between two limits is a rescaling and a clip, the line's slope in the multiplier and its offset in the bias. All else is
    rescaled to the unit of the curve's argument.
    """
    output = max(seen, 2.0**-6) / INT8
    line = _line(activation)
    if line is not None:
        slope, offset, lowest, highest = line
        b = b + offset / slope
        low, high = (int(np.clip(np.floor(edge / output + 0.5), -INT8, INT8)) for edge in (lowest, highest))
        scale = _row_scale(unit, b)
        return _Squashed(scale, np.floor(b / scale + 0.5).astype(np.int32), rescaling(scale * slope / output, INT8), low, high, output)
    if activation.kind not in CURVES:
        raise EdgeLstmError(
            f"a dense or convolutional layer with activation {activation} has no integer form; use one of {', '.join((*LINES, *CURVES))}"
        )
    scale = _row_scale(unit, b)
    curve, argument = bent(activation, output) if activation.kind in FEED_FORWARD_ONLY else (sampled(activation, output), PREACTIVATION)
    reach = (len(curve.knots) - 1) << curve.segment_shift >> 1
    to_argument = rescaling(scale / argument, reach)
    return _Squashed(scale, np.floor(b / scale + 0.5).astype(np.int32), to_argument, -INT8, INT8, output, curve)


def _line(activation: Activation) -> tuple[float, float, float, float] | None:
    """(slope, offset, lowest, highest) where the function is clip(slope x + offset, lowest, highest), else None."""
    if activation.kind not in LINES:
        return None
    slope, offset = (activation.alpha, activation.beta) if activation.kind == "hard_sigmoid" else (1.0, 0.0)
    return slope, offset, *activation.bounds


def _unit(W: Float64Array, levels: int, wide: bool) -> Float64Array:
    """[outputs] smallest real value of one unit of each accumulator at which the weights W [outputs, n], in units of the input, fit.

    An input of 16 bits has finer units, of which the sum may have too many for 32 bits.
    """
    unit = np.maximum(np.abs(W).max(1) / levels, SMALLEST_SCALE / (2**HALF_BITS if wide else 1))
    return np.maximum(unit, np.abs(W).sum(1) * WIDEST / 2**30) if wide else unit


def _row_scale(unit: Float64Array, b: Float64Array) -> Float64Array:
    return np.maximum(unit, np.abs(b) / 2**22)


