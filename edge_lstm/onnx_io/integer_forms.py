"""Sequences of different lengths, and states that come in and go out: what these forms of an integer model need beside its layers.

form         inputs beside `raw`                              what it is for
sequences    none                                             whole sequences of one length
lengths      lengths: int64 [batch], samples of each          whole sequences of different lengths, padded to the longest
stream       state.<layer>.<name> and the like, all optional  a few samples at a time; next.<layer>.<name> go into the next call
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerConv1d, IntegerNetwork, IntegerPool
from edge_lstm.onnx_io.body import END, Body
from edge_lstm.onnx_io.own_format import tensor

FORMS = ("sequences", "lengths", "stream")


def inside(body: Body, value: str, lengths: str) -> str:
    """bool [batch, time, 1]: whether a step of `value` [batch, time, ...] belongs to its sequence. lengths: int64 [batch], in steps."""
    time = body.emit("Gather", body.emit("Shape", value), body.constant(1, np.int64), axis=0)
    steps = body.emit("Range", body.constant(0, np.int64), time, body.constant(1, np.int64))
    below = body.emit("Less", steps, body.emit("Unsqueeze", lengths, body.constant([1], np.int64)))
    return body.emit("Unsqueeze", below, body.constant([2], np.int64))


def masked(body: Body, value: str, lengths: str, dtype: type[np.integer]) -> str:
    """`value` [batch, time, n] with zeros behind the end of each sequence."""
    return body.emit("Where", inside(body, value, lengths), value, body.constant(0, dtype))


def shorter(body: Body, lengths: str, layer: IntegerConv1d | IntegerPool) -> str:
    """Numbers of steps that the layer makes of so many."""
    span, extra = (layer.reach, sum(layer.padding)) if isinstance(layer, IntegerConv1d) else (layer.size, 0)
    full = body.emit("Add", lengths, body.constant(extra - span, np.int64))
    return body.emit("Add", body.emit("Div", full, body.constant(layer.stride, np.int64)), body.constant(1, np.int64))


def step_before(body: Body, value: str, lengths: str) -> str:
    """The last step [batch, n] of each sequence in `value` [batch, time, n]."""
    index = body.emit("Sub", lengths, body.constant(1, np.int64))
    return body.emit("GatherND", value, body.emit("Unsqueeze", index, body.constant([1], np.int64)), batch_dims=1)


def refuse_stream(network: IntegerNetwork) -> None:
    """Raises EdgeLstmError where the network has no streaming form, with the reason."""
    if not network.streams:
        raise EdgeLstmError("this network reads the sequence from its end and cannot be fed step by step: save it for whole sequences")
    if network.normalize.features is not None:
        raise EdgeLstmError("the feature program keeps memories, which the streaming form has no inputs for: save it for whole sequences")
    for layer in network.layers:
        if isinstance(layer, (IntegerConv1d, IntegerPool)) and layer.stride != 1:
            raise EdgeLstmError("a layer with a stride makes no step for some steps of its input: it has no streaming form in ONNX")
        if isinstance(layer, IntegerPool) and layer.size != 1:
            raise EdgeLstmError("pooling makes its first step late: it has no streaming form in ONNX; use a causal convolution")
        if isinstance(layer, IntegerConv1d) and layer.padding[0] != layer.reach - 1:
            raise EdgeLstmError("a convolution without causal padding makes its first step late: it has no streaming form in ONNX")


class Memories:
    """The states of a streaming model: optional inputs of the graph, which start as after a reset, and its outputs."""

    def __init__(self) -> None:
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, name: str, start: np.ndarray, shape: Sequence[int | str]) -> tuple[str, str]:
        """Names of the input and of the output. start: the value after a reset, its first axis 1 for all sequences."""
        before, after = f"state.{name}", f"next.{name}"
        kind = helper.np_dtype_to_tensor_dtype(start.dtype)
        self.inputs.append(helper.make_tensor_value_info(before, kind, list(shape)))
        self.outputs.append(helper.make_tensor_value_info(after, kind, list(shape)))
        self.initializers.append(tensor(start, before))
        return before, after


def with_memory(body: Body, value: str, before: str, after: str, layer: IntegerConv1d) -> str:
    """`value` [batch, time, n] behind the steps that the convolution still needs, which are `before`; what it needs next is `after`."""
    batch = body.emit("Shape", value, start=0, end=1)
    steps = layer.reach - 1
    shape = body.emit("Concat", batch, body.constant([steps, layer.inputs], np.int64), axis=0)
    joined = body.emit("Concat", body.emit("Expand", before, shape), value, axis=1)
    body.rename(body.emit("Slice", joined, *(body.constant([n], np.int64) for n in (-steps, END, 1))), after)
    return joined


def summed(body: Body, value: str, window: int) -> tuple[str, str, str]:
    """Sum int32 [batch, n], its number of steps int32 [1], and the same as int64 [1], after the function's inputs `sum` and `count`.

    Steps beyond the window are left out, as on the device.
    """
    zero, one = body.constant([0], np.int64), body.constant([1], np.int64)
    room = body.emit("Max", body.emit("Sub", body.constant([window], np.int64), "count"), zero)
    counted = body.emit("Slice", value, zero, room, one)
    part = body.emit("ReduceSum", body.emit("Cast", counted, to=TensorProto.INT32), one, keepdims=0)
    count = body.emit("Add", "count", body.emit("Shape", counted, start=1, end=2))
    return body.emit("Add", "sum", part), body.emit("Cast", count, to=TensorProto.INT32), count
