"""Integer network -> ONNX model: one node of domain `edge_lstm` per layer, run by any ONNX Runtime, read back by `integer_read`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_lstm import files
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerLayer,
    IntegerNetwork,
    IntegerReadOut,
    IntegerRecurrent,
)
from edge_lstm.onnx_io import integer_arrays, integer_forms, integer_layers, integer_recurrent, integer_streams
from edge_lstm.onnx_io.body import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET, Body
from edge_lstm.onnx_io.features import FeatureMemory
from edge_lstm.onnx_io.integer_definition import definition, network_definition
from edge_lstm.onnx_io.integer_forms import masked, shorter
from edge_lstm.onnx_io.own_format import stamp, tensor, to_text


def integer_model(network: IntegerNetwork, *, states: bool = False, form: str = "sequences") -> onnx.ModelProto:
    """The network as an ONNX model.

    Input  raw: int16 [batch, samples, channels], sensor counts; left-over samples of an unfinished block are dropped.
    Output scores: int32 [batch, outputs], or [batch, time, outputs] when every step is read out; behind a mean, of the sum over the steps
           (at most `window` of them: later steps are left out, as on the device).
           label: int64 [batch] or [batch, time], the first class with the highest score; of one score, 1 above 0. A network that gives
           numbers (`IntegerNetwork.gives_numbers`) has no label.
           With `states`, also states.<layer>.<state>: int32 [batch, time, units], the state after each step.
    form   one of `integer_forms.FORMS`. "lengths" has a further input lengths: int64 [batch], samples of each sequence, at least one block
           and at most all; what lies behind does not count, and results of steps that are none are 0. "stream" takes the next samples, one
           or more. It has optional inputs state.<name> and outputs next.<name> that belong into the next call (which they are:
           `integer_streams`); left out, they are as after a reset. A further output steps: int64 [1], number of steps that reached the
           read-out in this call; while it is 0, scores and label are those of the last step so far (before the first: of zeros).
    Raises EdgeLstmError for another form, and for a network that cannot be streamed, with the reason.
    """
    if form not in integer_forms.FORMS:
        raise UsageError(f"unknown form {form!r}: choose one of {', '.join(integer_forms.FORMS)}")
    if form == "stream":
        integer_streams.refuse_stream(network)
    return _Writer(network, states, form).model()


def save_integer(network: IntegerNetwork, path: str | os.PathLike[str], *, form: str = "sequences") -> None:
    """Writes the model atomically; the same network gives the same bytes. `load` reads every form back as the same network.

    form: as `integer_model` has it. Raises EdgeLstmError when the file cannot be written, or the network does not have that form.
    """
    files.write_bytes(path, integer_model(network, form=form).SerializeToString(deterministic=True))


@dataclass(frozen=True)
class _Flow:
    """What flows between two layers.

    wide: int32, not int8; steps: name of the number of steps that it sums, if it is a sum; sequence: whether it has a time axis;
    backward: how many of its last columns were made in reverse; lengths: name of the number of steps of each sequence, "" for all;
    seen: name of the number of steps before these, in a stream that counts them.
    """

    value: str
    wide: bool = False
    steps: str = ""
    sequence: bool = True
    backward: int = 0
    lengths: str = ""
    seen: str = ""


class _Writer:
    def __init__(self, network: IntegerNetwork, states: bool, form: str) -> None:
        self.network, self.states, self.form = network, states, form
        self.plain = Body()  # what stands between the layers
        self.memories = integer_streams.Memories()
        self.nodes: list[onnx.NodeProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.recurrent = 0  # recurrent layers so far

    def model(self) -> onnx.ModelProto:
        network = self.network
        flow = self._front()
        if self.form == "lengths":
            block = self.plain.constant(network.normalize.decimation, np.int64)
            flow = replace(flow, lengths=self._between(self.plain.emit("Div", "lengths", block)))
        for index, layer in enumerate(network.layers):
            flow = self._layer(layer, index, flow)
        if flow.lengths and flow.sequence:
            dtype = np.int32 if flow.wide else np.int8
            flow = replace(flow, value=self._between(masked(self.plain, flow.value, flow.lengths, dtype)))
        self.nodes.append(helper.make_node("Cast", [flow.value], ["scores"], name="scores", to=TensorProto.INT32))
        self._label()
        return self._finish(["batch", "time"] if flow.sequence else ["batch"])

    def _label(self) -> None:
        """From scores to classes, if they name any."""
        if self.network.gives_numbers:
            return
        if self.network.outputs > 1:
            self.nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], name="label", axis=-1, keepdims=0, select_last_index=0))
            return
        above = self.plain.emit("Greater", "scores", self.plain.constant(0, np.int32))
        one = self.plain.emit("Squeeze", above, self.plain.constant([-1], np.int64))
        self.plain.rename(self.plain.emit("Cast", one, to=TensorProto.INT64), "label")
        self._between("")

    def _front(self) -> _Flow:
        """From counts to the input of the first layer."""
        network, front = self.network, self.network.normalize
        inputs, outputs, memory = ["raw"], ["normalize.x"], None
        if self.form == "stream":
            inputs = [self._between(integer_streams.whole_blocks(self.plain, self.memories, front))]
            if front.features is not None:
                memory = FeatureMemory(front.features)
                widths = enumerate(memory.widths)
                kept = [self.memories.counter("begun")]
                kept += [self.memories.add(f"feature{k}", np.zeros((1, width), np.int32), ("batch", width)) for k, width in widths]
                inputs += [before for before, _ in kept]
                outputs += [after for _, after in kept]
        self._node(front, integer_layers.normalize(front, "Normalize", memory), "normalize", inputs, outputs)
        flow = _Flow("normalize.x")
        if self.form == "stream" and integer_streams.counts_steps(network):
            seen, after = self.memories.counter("steps")
            if network.read_out.kind == "mean":
                flow = replace(flow, value=integer_streams.within_window(self.plain, flow.value, seen, network))
            self.plain.rename(self.plain.emit("Add", seen, self.plain.emit("Shape", flow.value, start=1, end=2)), after)
            flow = replace(flow, value=self._between(flow.value), seen=seen)
        return flow

    def _between(self, value: str) -> str:
        """Appends what has been written into `plain`; `value` is its result."""
        self.nodes += self.plain.nodes
        self.plain.nodes = []
        return value

    def _layer(self, layer: IntegerLayer, index: int, flow: _Flow) -> _Flow:
        """Appends one layer and returns what flows out of it."""
        label, result = f"layer{index}", f"layer{index}.y"
        if isinstance(layer, IntegerDense):
            function = integer_layers.dense(layer, f"IntegerDense_{index}", of_sum=flow.wide, counted=bool(flow.steps))
            self._node(layer, function, label, [flow.value, flow.steps] if flow.steps else [flow.value], [result])
            return replace(flow, value=result, wide=layer.limit is None, steps="", backward=0)
        if flow.wide or not flow.sequence:
            raise EdgeLstmError(f"{label}: a {type(layer).__name__} must come before the read-out, behind values of 8 bits")
        if isinstance(layer, IntegerRecurrent):
            return self._recurrent(layer, index, label, flow)
        if isinstance(layer, IntegerBidirectional):
            ahead = self._recurrent(layer.forward, index, f"{label}.forward", flow)
            back = self._recurrent(layer.backward, index, f"{label}.backward", flow)
            self.nodes.append(helper.make_node("Concat", [ahead.value, back.value], [result], name=label, axis=-1))
            return replace(flow, value=result, backward=layer.backward.units)
        if isinstance(layer, IntegerReadOut):
            return self._read_out(layer, label, flow)
        inner = layer
        if self.form == "stream":
            value, seen = integer_streams.due(self.plain, self.memories, flow.value, flow.seen, layer, label)
            flow = replace(flow, value=self._between(value), seen=seen)
            inner = replace(layer, padding=(0, 0)) if isinstance(layer, IntegerConv1d) else layer
        elif flow.lengths and isinstance(layer, IntegerConv1d) and layer.padding[1]:
            flow = replace(flow, value=self._between(masked(self.plain, flow.value, flow.lengths, np.int8)))
        if isinstance(inner, IntegerConv1d):
            function = integer_layers.convolution(inner, f"IntegerConv1d_{index}")
        else:
            function = integer_layers.pooling(inner, f"IntegerPool_{index}")
        self._node(layer, function, label, [flow.value], [result])
        lengths = self._between(shorter(self.plain, flow.lengths, layer)) if flow.lengths else ""
        return replace(flow, value=result, backward=0, lengths=lengths)

    def _read_out(self, layer: IntegerReadOut, label: str, flow: _Flow) -> _Flow:
        streamed = self.form == "stream"
        keeps = streamed and layer.kind in ("last", "final") and integer_streams.may_make_no_step(self.network)
        kind = integer_layers.READ_OUT_FUNCTIONS[layer.kind]
        function = integer_layers.read_out(layer, kind, flow.backward, self.form, keeps=keeps)
        result = f"{label}.y"
        inputs, outputs = [flow.value], [result]
        steps = f"{label}.steps" if layer.kind == "mean" else ""
        if flow.lengths and layer.kind != "every":
            inputs.append(flow.lengths)
        if streamed and (keeps or layer.kind == "mean"):
            name, dtype = ("last", np.int8) if keeps else ("sum", np.int32)
            below = self.network.layers[self.network.layers.index(layer) - 1]
            assert not isinstance(below, IntegerReadOut)
            before, result = self.memories.add(f"{label}.{name}", np.zeros((1, below.outputs), dtype), ("batch", below.outputs))
            inputs.append(before)
            outputs = [result]
        if steps:
            inputs += [flow.seen] if streamed else []
            outputs.append(steps)
        self._node(layer, function, label, inputs, outputs)
        if streamed:
            self.nodes.append(helper.make_node("Shape", [flow.value], ["steps"], name="steps", start=1, end=2))
        if layer.gain is not None:
            self.functions.append(integer_layers.average(layer, self.form))
            mean = f"{label}.mean"
            self.nodes.append(helper.make_node(integer_layers.AVERAGE, [result, steps], [mean], name=mean, domain=DOMAIN))
            return _Flow(mean, wide=False, steps="", sequence=False, lengths="")
        lengths = flow.lengths if layer.kind == "every" else ""
        return _Flow(result, wide=layer.kind == "mean", steps=steps, sequence=layer.kind == "every", lengths=lengths)

    def _recurrent(self, layer: IntegerRecurrent, index: int, label: str, flow: _Flow) -> _Flow:
        side = label.partition(".")[2]
        streamed, turned = self.form == "stream", bool(flow.lengths) and layer.reverse
        name = f"{_camel(layer.cell)}_{index}{'_' + side if side else ''}"
        # Sequences that end at different steps are turned round, each by itself, and so are the results.
        function = integer_recurrent.recurrent(replace(layer, reverse=False) if turned else layer, name, self.states, streamed)
        traces = [f"states.{self.recurrent}.{state.name}" for state in layer.states] if self.states else []
        results = [f"{label}.y", *traces]
        inside = [f"{result}.padded" for result in results] if flow.lengths else results
        value = self._between(self._turned(flow.value, flow.lengths)) if turned else flow.value
        shapes: list[tuple[str, str]] = []
        if streamed:
            for state in layer.states:
                shapes.append(self.memories.add(f"{self.recurrent}.{state.name}", state.initial[None], ("batch", layer.units)))
        self._node(layer, function, label, [value, *(before for before, _ in shapes)], [*inside, *(after for _, after in shapes)])
        if flow.lengths:
            for k, (padded, result) in enumerate(zip(inside, results, strict=True)):
                ordered = self._turned(padded, flow.lengths) if turned else padded
                self.plain.rename(masked(self.plain, ordered, flow.lengths, np.int32 if k else np.int8), result)
            self._between("")
        shape: list[str | int | None] = ["batch", "time", layer.units]
        self.outputs += [helper.make_tensor_value_info(trace, TensorProto.INT32, shape) for trace in traces]
        self.recurrent += 1
        return replace(flow, value=f"{label}.y", backward=layer.units if layer.reverse else 0)

    def _turned(self, value: str, lengths: str) -> str:
        return self.plain.emit("ReverseSequence", value, lengths, batch_axis=0, time_axis=1)

    def _node(self, layer: integer_arrays.Layer, function: onnx.FunctionProto, label: str, inputs: list[str], outputs: list[str]) -> None:
        arrays = {f"{label}.{name}": array for name, array in integer_arrays.inputs(layer).items()}
        self.initializers += [tensor(array, name) for name, array in arrays.items()]
        attributes = {name: tensor(array, name) for name, array in integer_arrays.tensors(layer).items()}
        self.functions.append(function)
        self.nodes.append(
            helper.make_node(
                function.name, [*inputs, *arrays], outputs, name=label, domain=DOMAIN, definition=to_text(definition(layer)), **attributes
            )
        )

    def _finish(self, shape: list[str]) -> onnx.ModelProto:
        network = self.network
        graph = helper.make_graph(
            [*self.plain.finished_nodes(), *self.nodes],
            network.name or "network",
            [
                helper.make_tensor_value_info("raw", TensorProto.INT16, ["batch", "samples", network.inputs]),
                *([helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"])] if self.form == "lengths" else []),
                *self.memories.inputs,
            ],
            [
                helper.make_tensor_value_info("scores", TensorProto.INT32, [*shape, network.outputs]),
                *([] if network.gives_numbers else [helper.make_tensor_value_info("label", TensorProto.INT64, shape)]),
                *([helper.make_tensor_value_info("steps", TensorProto.INT64, [1])] if self.form == "stream" else []),
                *self.outputs,
                *self.memories.outputs,
            ],
            [*self.initializers, *self.memories.initializers],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
        model = helper.make_model(graph, functions=self.functions, opset_imports=opsets, ir_version=IR_VERSION)
        stamp(model, "integer", to_text(network_definition(network)))
        return model


def _camel(cell: str) -> str:
    """lstm_peephole -> IntegerLstmPeephole."""
    return "Integer" + "".join(part.capitalize() for part in cell.split("_"))
