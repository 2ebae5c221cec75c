"""Integer network -> ONNX model: one node of domain `edge_lstm` per layer, run by any ONNX Runtime, read back by `integer_read`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto, helper

from edge_lstm import files
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import (
    IntegerBidirectional,
    IntegerConv1d,
    IntegerDense,
    IntegerLayer,
    IntegerNetwork,
    IntegerReadOut,
    IntegerRecurrent,
)
from edge_lstm.onnx_io import integer_arrays, integer_layers, integer_recurrent
from edge_lstm.onnx_io.body import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET
from edge_lstm.onnx_io.integer_definition import definition, network_definition
from edge_lstm.onnx_io.own_format import stamp, tensor, to_text


def integer_model(network: IntegerNetwork, *, states: bool = False) -> onnx.ModelProto:
    """The network as an ONNX model.

    Input  raw: int16 [batch, samples, channels], sensor counts; left-over samples of an unfinished block are dropped.
    Output scores: int32 [batch, outputs], or [batch, time, outputs] when every step is read out; behind a mean, of the sum over the steps
           (at most `window` of them: later steps are left out, as on the device).
           label: int64 [batch] or [batch, time], the first class with the highest score.
           With `states`, also states.<layer>.<state>: int32 [batch, time, units], the state after each step.
    """
    return _Writer(network, states).model()


def save_integer(network: IntegerNetwork, path: str | os.PathLike[str]) -> None:
    """Writes the model atomically; the same network gives the same bytes. Raises EdgeLstmError when the file cannot be written."""
    files.write_bytes(path, integer_model(network).SerializeToString(deterministic=True))


@dataclass(frozen=True)
class _Flow:
    """What flows between two layers.

    wide: int32, not int8; steps: name of the number of steps that it sums, if it is a sum; sequence: whether it has a time axis;
    backward: how many of its last columns were made in reverse.
    """

    value: str
    wide: bool = False
    steps: str = ""
    sequence: bool = True
    backward: int = 0


class _Writer:
    def __init__(self, network: IntegerNetwork, states: bool) -> None:
        self.network, self.states = network, states
        self.nodes: list[onnx.NodeProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.recurrent = 0  # recurrent layers so far

    def model(self) -> onnx.ModelProto:
        network = self.network
        self._node(network.normalize, integer_layers.normalize(network.normalize, "Normalize"), "normalize", ["raw"], ["normalize.x"])
        flow = _Flow("normalize.x")
        for index, layer in enumerate(network.layers):
            flow = self._layer(layer, index, flow)
        self.nodes.append(helper.make_node("Cast", [flow.value], ["scores"], name="scores", to=TensorProto.INT32))
        self.nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], name="label", axis=-1, keepdims=0, select_last_index=0))
        return self._finish(["batch", "time"] if flow.sequence else ["batch"])

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
            function = integer_layers.read_out(layer, integer_layers.READ_OUT_FUNCTIONS[layer.kind], flow.backward)
            steps = f"{label}.steps" if layer.kind == "mean" else ""
            self._node(layer, function, label, [flow.value], [result, steps] if steps else [result])
            return _Flow(result, wide=layer.kind == "mean", steps=steps, sequence=layer.kind == "every")
        if isinstance(layer, IntegerConv1d):
            function = integer_layers.convolution(layer, f"IntegerConv1d_{index}")
        else:
            function = integer_layers.pooling(layer, f"IntegerPool_{index}")
        self._node(layer, function, label, [flow.value], [result])
        return replace(flow, value=result, backward=0)

    def _recurrent(self, layer: IntegerRecurrent, index: int, label: str, flow: _Flow) -> _Flow:
        side = label.partition(".")[2]
        function = integer_recurrent.recurrent(layer, f"{_camel(layer.cell)}_{index}{'_' + side if side else ''}", self.states)
        traces = [f"states.{self.recurrent}.{state.name}" for state in layer.states] if self.states else []
        self._node(layer, function, label, [flow.value], [f"{label}.y", *traces])
        shape: list[str | int | None] = ["batch", "time", layer.units]
        self.outputs += [helper.make_tensor_value_info(trace, TensorProto.INT32, shape) for trace in traces]
        self.recurrent += 1
        return replace(flow, value=f"{label}.y", backward=layer.units if layer.reverse else 0)

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
            self.nodes,
            network.name or "network",
            [helper.make_tensor_value_info("raw", TensorProto.INT16, ["batch", "samples", network.inputs])],
            [
                helper.make_tensor_value_info("scores", TensorProto.INT32, [*shape, network.outputs]),
                helper.make_tensor_value_info("label", TensorProto.INT64, shape),
                *self.outputs,
            ],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
        model = helper.make_model(graph, functions=self.functions, opset_imports=opsets, ir_version=IR_VERSION)
        stamp(model, "integer", to_text(network_definition(network)))
        return model


def _camel(cell: str) -> str:
    """lstm_peephole -> IntegerLstmPeephole."""
    return "Integer" + "".join(part.capitalize() for part in cell.split("_"))
