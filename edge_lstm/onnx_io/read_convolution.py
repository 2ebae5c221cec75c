"""Readers of convolution and pooling over time: Conv, MaxPool, AveragePool, and Pad in front of a convolution.

PyTorch writes one-dimensional operators on [batch, channels, time]; tf2onnx two-dimensional ones with one axis of size 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_lstm.network import Conv1d, FloatArray, Pool
from edge_lstm.onnx_io.read_layers import add_dense, add_time_layer, features_of, opened, settle
from edge_lstm.onnx_io.read_node import Node, Operator, operator, resolve_axis
from edge_lstm.onnx_io.read_recurrent import as_float
from edge_lstm.onnx_io.read_refusals import Refusal
from edge_lstm.onnx_io.read_sizes import Size, Symbolic, symbol
from edge_lstm.onnx_io.read_values import Signal, Value, concrete, describe


def _time_axis(node: Node, signal: Signal) -> int:
    """The one dimension behind batch and channels that is an axis of the input; it is noted to be the time."""
    spatial = [d for d in range(2, len(signal.axes)) if signal.axes[d]]
    if len(spatial) != 1 or len(signal.axes[spatial[0]]) != 1 or len(signal.axes[0]) > 1:
        raise Refusal(f"reads {describe(signal)}; expected batch, channels, and one axis of time")
    time = spatial[0]
    node.roles.bind(signal.source, "time", signal.axes[time][0])
    if signal.axes[0]:
        node.roles.bind(signal.source, "batch", signal.axes[0][0])
    return time


def _along_time(node: Node, name: str, count: int, place: int, default: int) -> int:
    """The number for the time axis of an attribute with one number for each of `count` spatial axes; the others must have `default`."""
    numbers = node.attribute(name, [default] * count)
    if len(numbers) != count or any(n != default for k, n in enumerate(numbers) if k != place):
        raise Refusal(f"attribute {name} = {list(numbers)} acts along an axis other than the time")
    return int(numbers[place])


def _padding(node: Node, count: int, place: int, reach: int, stride: int) -> tuple[int, int]:
    """Steps of zeros before and after the sequence."""
    automatic = node.attribute("auto_pad", b"NOTSET").decode()
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        if stride != 1:
            raise Refusal(f"attribute auto_pad = {automatic} with strides other than 1 is not read: give the padding in numbers")
        half = (reach - 1) // 2
        return (half, reach - 1 - half) if automatic == "SAME_UPPER" else (reach - 1 - half, half)
    pads = node.attribute("pads", [0] * (2 * count))
    others = [p for k, p in enumerate(pads) if k not in (place, place + count)]
    if len(pads) != 2 * count or any(others) or min(pads) < 0:
        raise Refusal(f"attribute pads = {list(pads)} is negative, or acts along an axis other than the time")
    return int(pads[place]), int(pads[place + count])


def _steps(size: Size, padding: Sequence[int], reach: int, stride: int) -> Size:
    """Number of steps behind a window of `reach` steps that moves on by `stride`."""
    free = size + sum(padding) - reach
    if isinstance(free, Symbolic):
        return free + 1 if stride == 1 else symbol(f"(({free}) // {stride} + 1)")
    if free < 0:
        raise Refusal(f"spans {reach} steps of a sequence of {size}")
    return free // stride + 1


def _conv(node: Node) -> Value:
    signal = opened(node.signal(0), padding=True)
    time = _time_axis(node, signal)
    count, place = len(signal.axes) - 2, time - 2
    inputs = features_of(signal, 1, node.roles)
    kernel = as_float(concrete(node.value(1), "the kernel", len(signal.axes)))
    if any(size != 1 for k, size in enumerate(kernel.shape[2:]) if k != place):
        raise Refusal(f"has a kernel of shape {list(kernel.shape)}, which spans an axis other than the time")
    W = _dense_kernel(kernel.reshape(*kernel.shape[:2], kernel.shape[time]), inputs, int(node.attribute("group", 1)))
    b = np.zeros(W.shape[0], W.dtype) if node.input(2) is None else as_float(concrete(node.value(2), "the bias", 1)).astype(W.dtype)
    if b.shape != (W.shape[0],):
        raise Refusal(f"has {len(b)} biases for {W.shape[0]} outputs")
    stride, dilation = _along_time(node, "strides", count, place, 1), _along_time(node, "dilations", count, place, 1)
    reach = (W.shape[2] - 1) * dilation + 1
    before, after = _padding(node, count, place, reach, stride)
    padding = (before + signal.padding[0], after + signal.padding[1])
    if (reach, stride, padding) == (1, 1, (0, 0)):
        return add_dense(signal, W[:, :, 0], b, 1, node.roles)  # a convolution that spans one step is a dense layer
    steps = _steps(signal.shape[time], (before, after), reach, stride)
    if any(padding) and signal.offset is not None and signal.offset.any():
        signal = settle(signal)  # the zeros of the padding come behind the offset
    if signal.scale is not None and signal.offset is not None:
        wide = W.astype(np.float64)
        W, b = (wide * signal.scale[:, None]).astype(W.dtype), (b + wide.sum(2) @ signal.offset).astype(b.dtype)
    layer = Conv1d(W, b, stride, padding, dilation)
    return add_time_layer(signal, layer, time, steps, node.roles)


def _dense_kernel(W: FloatArray, inputs: int, groups: int) -> FloatArray:
    """The kernel [outputs, inputs, steps] of a convolution in groups, with zeros where a group does not read a channel."""
    outputs, each, steps = W.shape
    if groups < 1 or each * groups != inputs or outputs % groups or 0 in W.shape:
        raise Refusal(f"has a kernel of shape {list(W.shape)} in {groups} group(s), which does not fit {inputs} channels")
    full = np.zeros((outputs, inputs, steps), W.dtype)
    for group in range(groups):
        rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
        full[rows, group * each : (group + 1) * each] = W[rows]
    return full


def _pool(node: Node) -> Value:
    signal = settle(opened(node.signal(0)))
    time = _time_axis(node, signal)
    count, place = len(signal.axes) - 2, time - 2
    channels = features_of(signal, 1, node.roles)
    size, stride = _along_time(node, "kernel_shape", count, place, 1), _along_time(node, "strides", count, place, 1)
    if node.attribute("ceil_mode", 0) or _along_time(node, "dilations", count, place, 1) != 1:
        raise Refusal("attribute ceil_mode or dilations is not read for pooling")
    if len(node.proto.output) > 1 and node.proto.output[1]:
        raise Refusal("gives the indices of the largest values, which are not read")
    if node.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or any(_padding(node, count, place, size, stride)):
        raise Refusal("pads the sequence; pooling is read without padding only")
    layer = Pool("max" if node.operator == "MaxPool" else "average", size, stride, channels)
    return add_time_layer(signal, layer, time, _steps(signal.shape[time], (0, 0), size, stride), node.roles)


def _pad(node: Node) -> Value:
    """Zeros before or after the sequence: a causal convolution takes them in."""
    signal = settle(opened(node.signal(0), padding=True))
    mode = node.attribute("mode", b"constant").decode()
    rank = len(signal.axes)
    pads = node.attribute("pads") if node.opset < 11 else concrete(node.value(1), "the padding").ravel().tolist()
    axes = range(rank) if node.input(3) is None else [resolve_axis(int(a), rank) for a in concrete(node.value(3), "axes").ravel()]
    fill = node.attribute("value", 0.0) if node.input(2) is None else float(concrete(node.value(2), "the value").item())
    padded = {axis: (int(a), int(b)) for axis, a, b in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True) if a or b}
    if not padded:
        return signal
    if mode != "constant" or fill != 0 or len(padded) > 1 or any(min(p) < 0 for p in padded.values()):
        raise Refusal(f"pads axes {sorted(padded)} in mode {mode} with {fill:g}; only zeros along the time axis are read")
    (axis, (before, after)) = next(iter(padded.items()))
    if not signal.axes[axis]:
        raise Refusal(f"pads axis {axis} of {describe(signal)}, which is not the time")
    if len(signal.axes[axis]) > 1:
        raise Refusal(f"pads several axes at once in {describe(signal)}")
    node.roles.bind(signal.source, "time", signal.axes[axis][0])
    longer = replace(signal.axes[axis][0], size=signal.axes[axis][0].size + before + after)
    axes_after = (*signal.axes[:axis], (longer,), *signal.axes[axis + 1 :])
    return replace(signal, axes=axes_after, padding=(signal.padding[0] + before, signal.padding[1] + after), state="")


_WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
CONVOLUTION_OPERATORS: dict[str, Operator] = {
    "Conv": operator(_conv, *_WINDOW, "group"),
    "MaxPool": operator(_pool, *_WINDOW, "ceil_mode", "storage_order"),
    "AveragePool": operator(_pool, *_WINDOW, "ceil_mode", "count_include_pad"),
    "Pad": operator(_pad, "mode", "pads", "value"),
}
