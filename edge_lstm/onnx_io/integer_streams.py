"""The form of an integer model that is fed any number of samples at a time: its memories come in and go out.

memory                         what it holds                                                           there for
state.<k>.<state>              int32 [batch, units]                                                    each state of recurrent layer k
state.layer<n>.x               int8 [batch, span - 1, bytes of an input], the steps that its next output may need a convolution, pooling
state.layer<n>.last            int8 [batch, units], the step read out last                             where a call may make no step
state.layer<n>.sum             int32 [batch, units]                                                    a mean
state.steps                    int64 [1], steps of the network since the reset                         a mean, strides, late first outputs
state.samples, state.block     int64 [1], int16 [batch, decimation - 1, channels]: an unfinished block decimation
state.begun, state.feature<n>  int64 [1], int32 [batch, width]: whether a step has been, its memory    a feature program

How many steps each layer has made follows from `state.steps` alone, since all sequences of a batch go in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import (
    IntegerConv1d,
    IntegerLayer,
    IntegerNetwork,
    IntegerPool,
    IntegerReadOut,
    Normalize,
    input_width,
)
from edge_lstm.onnx_io.body import END, Body
from edge_lstm.onnx_io.own_format import tensor


def refuse_stream(network: IntegerNetwork) -> None:
    """Raises EdgeLstmError where the network has no streaming form, with the reason."""
    if obstacle := network.stream_obstacle:
        raise EdgeLstmError(f"this network has no streaming form: {obstacle}")


@dataclass(frozen=True)
class Timing:
    """When a layer makes outputs, each of `span` inputs: the first behind `first` inputs, another behind every further `stride`."""

    span: int
    stride: int
    first: int

    @property
    def waits(self) -> bool:
        """Whether some input makes no output."""
        return self.stride > 1 or self.first > 1


def timing(layer: IntegerLayer) -> Timing:
    """Of a layer of a network that streams."""
    if isinstance(layer, IntegerConv1d):
        return Timing(layer.reach, layer.stride, layer.reach - layer.padding[0])
    return Timing(layer.size, layer.stride, layer.size) if isinstance(layer, IntegerPool) else Timing(1, 1, 1)


def before_read_out(network: IntegerNetwork) -> list[Timing]:
    """Of the layers in front of the read-out."""
    kinds = [isinstance(layer, IntegerReadOut) for layer in network.layers]
    return [timing(layer) for layer in network.layers[: kinds.index(True)]]


def may_make_no_step(network: IntegerNetwork) -> bool:
    """Whether a call with one sample may reach the read-out with nothing."""
    return network.normalize.decimation > 1 or any(one.waits for one in before_read_out(network))


def counts_steps(network: IntegerNetwork) -> bool:
    """Whether `state.steps` is needed."""
    return network.read_out.kind == "mean" or any(one.waits for one in before_read_out(network))


def steps_of_window(network: IntegerNetwork) -> int:
    """Steps of the network's input that bring the last step of the window to the read-out: those behind change nothing any more."""
    steps = network.read_out.window
    for one in reversed(before_read_out(network)):
        steps = one.first + (steps - 1) * one.stride
    return steps


class Memories:
    """The memories of a streaming model: optional inputs of the graph, which start as after a reset, and its outputs."""

    def __init__(self) -> None:
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, name: str, start: npt.NDArray[np.integer], shape: Sequence[int | str]) -> tuple[str, str]:
        """Names of the input and of the output. start: the value after a reset, its first axis 1 for all sequences."""
        before, after = f"state.{name}", f"next.{name}"
        kind = helper.np_dtype_to_tensor_dtype(start.dtype)
        self.inputs.append(helper.make_tensor_value_info(before, kind, list(shape)))
        self.outputs.append(helper.make_tensor_value_info(after, kind, list(shape)))
        self.initializers.append(tensor(start, before))
        return before, after

    def counter(self, name: str) -> tuple[str, str]:
        """A memory int64 [1] that starts at 0: one number for all sequences."""
        return self.add(name, np.zeros(1, np.int64), (1,))

    def behind(self, body: Body, value: str, name: str, steps: int, width: int, dtype: type[np.integer]) -> str:
        """`value` [batch, time, width] behind the `steps` steps before it, which a memory of that name keeps."""
        if not steps:
            return value
        before, after = self.add(name, np.zeros((1, steps, width), dtype), ("batch", steps, width))
        shape = body.emit("Concat", body.emit("Shape", value, start=0, end=1), body.constant([steps, width], np.int64), axis=0)
        joined = body.emit("Concat", body.emit("Expand", before, shape), value, axis=1)
        body.rename(body.emit("Slice", joined, *(body.constant([n], np.int64) for n in (-steps, END, 1))), after)
        return joined


def whole_blocks(body: Body, memories: Memories, front: Normalize) -> str:
    """`raw` behind the samples of an unfinished block: from here on whole blocks count and left-over samples do not."""
    block = front.decimation
    if block == 1:
        return "raw"
    before, after = memories.counter("samples")
    joined = memories.behind(body, "raw", "block", block - 1, front.inputs, np.int16)
    total = body.emit("Add", before, body.emit("Shape", "raw", start=1, end=2))
    body.rename(body.emit("Mod", total, body.constant([block], np.int64)), after)
    return _from(body, joined, body.emit("Sub", body.constant([block - 1], np.int64), before))


def within_window(body: Body, x: str, seen: str, network: IntegerNetwork) -> str:
    """The steps of `x` [batch, time, n] that can still reach the read-out of a mean; `seen`: steps before, int64 [1]."""
    room = body.emit("Sub", body.constant([steps_of_window(network)], np.int64), seen)
    return body.emit("Slice", x, body.constant([0], np.int64), room, body.constant([1], np.int64))


def due(body: Body, memories: Memories, value: str, seen: str, layer: IntegerConv1d | IntegerPool, label: str) -> tuple[str, str]:
    """What a layer without padding makes its next outputs of: `value` [batch, time, n] behind what it kept, from the first that is due on.

    seen: steps that came before `value`, int64 [1]. Also returns how many steps the layer has made of them.
    """
    one = timing(layer)
    joined = memories.behind(body, value, f"{label}.x", one.span - 1, input_width(layer), np.int8)
    if not one.waits:
        return joined, seen
    first, stride = (body.constant([n], np.int64) for n in (one.first, one.stride))
    ahead = body.emit("Add", body.emit("Sub", seen, first), stride)
    made = body.emit("Max", body.emit("Div", ahead, stride), body.constant([0], np.int64))
    wait = body.emit(
        "Sub", body.emit("Add", body.emit("Mul", made, stride), first), seen
    )  # inputs until the next output, that one included
    return _from(body, joined, body.emit("Sub", wait, body.constant([1], np.int64))), made


def _from(body: Body, value: str, start: str) -> str:
    """value[:, start:], start: int64 [1]."""
    return body.emit("Slice", value, start, *(body.constant([n], np.int64) for n in (END, 1)))


def summed(body: Body, value: str) -> tuple[str, str]:
    """Sum int32 [batch, n] and its number of steps int32 [1], after the function's inputs `sum` and `seen`."""
    part = body.emit("ReduceSum", body.emit("Cast", value, to=TensorProto.INT32), body.constant([1], np.int64), keepdims=0)
    count = body.emit("Add", "seen", body.emit("Shape", value, start=1, end=2))
    return body.emit("Add", "sum", part), body.emit("Cast", count, to=TensorProto.INT32)


def last_step(body: Body, value: str) -> str:
    """The last step [batch, n] of `value` [batch, time, n], or the function's input `last` [1 or batch, n] where there is none."""
    batch = body.emit("Shape", value, start=0, end=1)
    wide = body.emit("Expand", "last", body.emit("Concat", batch, body.constant([1], np.int64), axis=0))
    joined = body.emit("Concat", body.emit("Unsqueeze", wide, body.constant([1], np.int64)), value, axis=1)
    return body.emit("Gather", joined, body.constant(-1, np.int64), axis=1)
