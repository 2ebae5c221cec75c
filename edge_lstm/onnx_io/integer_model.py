"""Integer network -> ONNX model: one node of domain `edge_lstm` per layer, run by any ONNX Runtime, read back by `integer_read`."""

from __future__ import annotations

import os

import onnx
from onnx import TensorProto, helper

from edge_lstm import files
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerReadOut, IntegerRecurrent
from edge_lstm.onnx_io import integer_arrays, integer_functions
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


class _Writer:
    def __init__(self, network: IntegerNetwork, states: bool) -> None:
        self.network, self.states = network, states
        self.nodes: list[onnx.NodeProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def model(self) -> onnx.ModelProto:
        network = self.network
        function = integer_functions.normalize(network.normalize, "Normalize")
        self._node(network.normalize, function, "normalize", ["raw"], ["normalize.x"])
        value, wide, steps = "normalize.x", False, ""  # the value that flows; whether it is int32; the number of steps it sums
        recurrent, sequence = 0, True
        for index, layer in enumerate(network.layers):
            label, result = f"layer{index}", f"layer{index}.y"
            if isinstance(layer, IntegerRecurrent):
                if wide or not sequence:
                    raise EdgeLstmError(f"layer {index}: a recurrent layer must come before the read-out, behind values of 8 bits")
                function = integer_functions.recurrent(layer, f"{_camel(layer.cell)}_{index}", self.states)
                traces = [f"states.{recurrent}.{state.name}" for state in layer.states] if self.states else []
                self._node(layer, function, label, [value], [result, *traces])
                shape: list[str | int | None] = ["batch", "time", layer.units]
                self.outputs += [helper.make_tensor_value_info(trace, TensorProto.INT32, shape) for trace in traces]
                recurrent += 1
            elif isinstance(layer, IntegerReadOut):
                function = integer_functions.read_out(layer, integer_functions.READ_OUT_FUNCTIONS[layer.kind])
                wide, sequence = wide or layer.kind == "mean", layer.kind == "every"
                steps = f"{label}.steps" if layer.kind == "mean" else ""
                self._node(layer, function, label, [value], [result, steps] if steps else [result])
            else:
                function = integer_functions.dense(layer, f"IntegerDense_{index}", of_sum=wide, counted=bool(steps))
                self._node(layer, function, label, [value, steps] if steps else [value], [result])
                wide, steps = layer.limit is None, ""
            value = result
        self.nodes.append(helper.make_node("Cast", [value], ["scores"], name="scores", to=TensorProto.INT32))
        self.nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], name="label", axis=-1, keepdims=0, select_last_index=0))
        return self._finish(["batch", "time"] if sequence else ["batch"])

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
