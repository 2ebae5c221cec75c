"""Layers of an integer network that have no state, one model-local function each: normalizing, convolution, pooling, read-out, dense.

Every function takes the layer's input and its arrays (`integer_arrays`), so that the weights stay visible at the node.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerDense, IntegerPool, IntegerReadOut, Normalize
from edge_lstm.fixed_point.operators import half
from edge_lstm.onnx_io import integer_arrays, integer_forms, integer_streams
from edge_lstm.onnx_io.body import END, Body
from edge_lstm.onnx_io.features import FeatureMemory, write_features
from edge_lstm.onnx_io.integer_operators import clamp_to, dot_of_input, integer, interpolate, shift_right, split, unsigned_weights

READ_OUT_FUNCTIONS = {"last": "LastStep", "mean": "RunningSum", "every": "EveryStep", "final": "FinalStates"}
AVERAGE = "Average"


def average(layer: IntegerReadOut, form: str = "sequences") -> onnx.FunctionProto:
    """int32 sums [batch, units] of `steps` steps, int32 [1] or [batch, 1] -> int8 means, as `operators.average`.

    form: one of `integer_forms.FORMS`; a stream may have made no step yet.
    """
    body = Body()
    steps, two = "steps", integer(body, 2)
    if form == "stream":
        steps = body.emit("Max", steps, integer(body, 1))
    reach = body.emit("Mul", steps, integer(body, 127))
    clipped = clamp_to(body, body.emit("Mul", "X", integer(body, 1 << (layer.gain or 0))), reach, body.emit("Neg", reach))
    doubled = body.emit("Mul", body.emit("Add", clipped, reach), two)  # not negative: integer division rounds down
    quotient = body.emit("Div", body.emit("Add", doubled, steps), body.emit("Mul", steps, two))
    body.rename(body.emit("Cast", body.emit("Sub", quotient, integer(body, 127)), to=TensorProto.INT8), "Y")
    return body.function(AVERAGE, ["X", "steps"], ["Y"], (), f"mean of the steps, times {1 << (layer.gain or 0)}, rounded to 8 bits")


def normalize(front: Normalize, name: str, memory: FeatureMemory | None = None) -> onnx.FunctionProto:
    """int16 counts [batch, samples, channels] -> int8 x [batch, samples // decimation, width]; left-over samples are dropped.

    memory: of a feature program that goes on where it was, with its further inputs and outputs.
    """
    body = Body()
    wide = body.emit("Cast", "raw", to=TensorProto.INT32)
    if front.decimation > 1:
        wide = body.emit("ReduceSum", body.blocks("raw", wide, front.decimation), body.constant([2], np.int64), keepdims=0)
    doc = "x = clip((clip(sum of decimation counts - offset, -limit, limit) * multiplier + half) >> shift, -127, 127)"
    if front.features is not None:
        wide = write_features(body, front.features, wide, front.decimation, memory)
        doc = doc.replace("sum of decimation counts", "features of the sums of decimation counts")
    scaled = _rescaled(body, body.emit("Sub", wide, "offset"), front.limit, front.multiplier, front.shift)
    if front.wide:
        limit = integer(body, front.limit_of_x)
        scaled = split(body, body.emit("Clip", scaled, integer(body, -front.limit_of_x), limit))
        doc = doc.replace("-127, 127)", f"-{front.limit_of_x}, {front.limit_of_x}), as high = (x + 64) >> 7 and low = x - (high << 7)")
    body.rename(_narrow(body, scaled, -127, 127), "x")
    before, after = (memory.inputs, memory.outputs) if memory is not None else ([], [])
    inputs, outputs = ["raw", *before, *integer_arrays.inputs(front)], ["x", *after]
    return body.function(name, inputs, outputs, integer_arrays.ATTRIBUTES["Normalize"], doc)


def convolution(layer: IntegerConv1d, name: str) -> onnx.FunctionProto:
    """int8 [batch, time, inputs] -> int8 [batch, steps, outputs]: the steps under the kernel side by side, times one matrix."""
    body = Body()
    outputs, inputs, kernel = layer.W.shape
    padded = body.padded("X", layer.padding, np.int8)
    parts = body.taps(padded, kernel, layer.stride, layer.dilation)
    if layer.wide:  # the high halves of all taps, then the low ones
        parts = [body.columns(part, *ends) for ends in ((0, inputs), (inputs, END)) for part in parts]
    under_kernel = parts[0] if len(parts) == 1 else body.emit("Concat", *parts, axis=-1)
    matrix = body.emit("Reshape", body.emit("Transpose", "W", perm=[0, 2, 1]), body.constant([outputs, kernel * inputs], np.int64))
    product = dot_of_input(body, under_kernel, unsigned_weights(body, [matrix]), kernel * inputs, layer.wide)
    accumulator = body.emit("Add", product, "bias")
    body.rename(_requantized(body, accumulator, layer), "Y")
    doc = "convolution over time, requantized to 8 bits"
    return body.function(name, ["X", *integer_arrays.inputs(layer)], ["Y"], integer_arrays.ATTRIBUTES["Conv1d"], doc)


def pooling(layer: IntegerPool, name: str) -> onnx.FunctionProto:
    """int8 [batch, time, channels] -> int8 [batch, steps, channels]."""
    body = Body()
    first, *others = body.taps(body.emit("Cast", "X", to=TensorProto.INT32), layer.size, layer.stride, 1)
    if layer.kind == "max":
        value = body.emit("Max", first, *others)
    else:
        for part in others:
            first = body.emit("Add", first, part)
        reach = 127 * layer.size * layer.multiplier
        scaled = body.emit("Mul", first, integer(body, layer.multiplier))
        value = shift_right(body, scaled, layer.shift, -reach, reach + half(layer.shift))
    body.rename(body.emit("Cast", value, to=TensorProto.INT8), "Y")
    return body.function(name, ["X"], ["Y"], integer_arrays.ATTRIBUTES["Pool"], f"{layer.kind} pooling over time")


def read_out(layer: IntegerReadOut, name: str, backward: int, form: str = "sequences", *, keeps: bool = False) -> onnx.FunctionProto:
    """int8 [batch, time, units] -> int8 [batch, units] (last), int32 sum over the first `window` steps and their number (mean), or all.

    backward: how many of the last columns were made in reverse.
    form: one of `integer_forms.FORMS`; "lengths" has a further input `lengths`, int64 [batch]; "stream" of a mean also `sum` and `seen`.
    keeps: a stream's last step has a further input `last`, which stays where no step comes.
    """
    body = Body()
    inputs, outputs = ["X"], ["Y"]
    if form == "lengths" and layer.kind != "every":
        inputs.append("lengths")
        _read_out_of_lengths(body, layer, backward if layer.kind == "final" else 0)
        outputs += ["steps"] if layer.kind == "mean" else []
    elif keeps:
        inputs.append("last")
        body.rename(integer_streams.last_step(body, "X"), "Y")
    elif layer.kind in ("last", "final"):
        body.rename(body.final("X", backward if layer.kind == "final" else 0), "Y")
    elif form == "stream" and layer.kind == "mean":
        inputs += ["sum", "seen"]
        outputs.append("steps")
        for value, public in zip(integer_streams.summed(body, "X"), outputs, strict=True):
            body.rename(value, public)
    elif layer.kind == "mean":
        zero, one = body.constant([0], np.int64), body.constant([1], np.int64)
        counted = body.emit("Slice", "X", zero, body.constant([layer.window], np.int64), one)  # more steps would leave the proved bound
        body.rename(body.emit("ReduceSum", body.emit("Cast", counted, to=TensorProto.INT32), one, keepdims=0), "Y")
        body.rename(body.emit("Cast", body.emit("Shape", counted, start=1, end=2), to=TensorProto.INT32), "steps")
        outputs.append("steps")
    else:
        body.rename("X", "Y")
    return body.function(name, inputs, outputs, integer_arrays.ATTRIBUTES["ReadOut"], f"read-out: {layer.kind}")


def _read_out_of_lengths(body: Body, layer: IntegerReadOut, backward: int) -> None:
    """The outputs of a read-out of sequences that end at their own `lengths`."""
    if layer.kind == "mean":
        counted = body.emit("Min", "lengths", body.constant(layer.window, np.int64))
        wide = integer_forms.masked(body, body.emit("Cast", "X", to=TensorProto.INT32), counted, np.int32)
        body.rename(body.emit("ReduceSum", wide, body.constant([1], np.int64), keepdims=0), "Y")
        steps = body.emit("Unsqueeze", counted, body.constant([1], np.int64))
        body.rename(body.emit("Cast", steps, to=TensorProto.INT32), "steps")
        return
    last = integer_forms.step_before(body, "X", "lengths")
    if backward:
        first = body.emit("Gather", "X", body.constant(0, np.int64), axis=1)
        last = body.emit("Concat", body.columns(last, 0, -backward), body.columns(first, -backward, END), axis=-1)
    body.rename(last, "Y")


def dense(layer: IntegerDense, name: str, *, of_sum: bool, counted: bool) -> onnx.FunctionProto:
    """W v + bias (* steps), requantized to int8 where the layer says so, else int32.

    of_sum: v is an int32 sum, not int8; counted: a further input `steps`, int32 [1], multiplies the bias.
    """
    body = Body()
    if of_sum:
        weights = body.emit("Transpose", body.emit("Cast", "W", to=TensorProto.INT32), perm=[1, 0])
        product = body.emit("MatMul", "X", weights)
    else:
        product = dot_of_input(body, "X", unsigned_weights(body, ["W"]), layer.inputs, layer.wide)
    value = body.emit("Add", product, body.emit("Mul", "bias", "steps") if counted else "bias")
    body.rename(_requantized(body, value, layer), "Y")
    inputs = ["X", *(["steps"] if counted else []), *integer_arrays.inputs(layer)]
    return body.function(name, inputs, ["Y"], integer_arrays.ATTRIBUTES["Dense"], "W v + bias" + (" * steps" if counted else ""))


def _requantized(body: Body, value: str, layer: IntegerDense | IntegerConv1d) -> str:
    """int8 outputs from the accumulators, as `operators.requantize`; the accumulators themselves where the layer has no `limit`."""
    if layer.limit is None or layer.multiplier is None:
        return value
    value = _rescaled(body, value, layer.limit, layer.multiplier, layer.shift)
    if layer.curve is not None:
        value = interpolate(body, body, value, "knots", layer.curve.knots, layer.curve.segment_shift, layer.curve.out_shift)
    return _narrow(body, value, layer.low, layer.high)


def _rescaled(body: Body, value: str, limit: npt.NDArray[np.int32], multiplier: npt.NDArray[np.int32], shift: int) -> str:
    """(clip(value, -limit, limit) * multiplier + half) >> shift with the function's inputs `limit` and `multiplier`."""
    clamped = clamp_to(body, value, "limit", body.emit("Neg", "limit"))
    reach = int((limit.astype(np.int64) * multiplier).max())
    return shift_right(body, body.emit("Mul", clamped, "multiplier"), shift, -reach, reach + half(shift))


def _narrow(body: Body, value: str, low: int, high: int) -> str:
    """clip(value, low, high) as int8."""
    return body.emit("Cast", body.emit("Clip", value, integer(body, low), integer(body, high)), to=TensorProto.INT8)
