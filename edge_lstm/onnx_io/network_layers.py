"""Each float layer as ONNX nodes: ONNX's own operator where there is one for it, else standard operators that compute the same.

ONNX Runtime has LSTM, GRU, RNN, Conv and AveragePool for float32 only, so networks in float64 take the second way.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from edge_lstm import cells
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Pool, ReadOut, Recurrent
from edge_lstm.onnx_io import network_function, network_standard
from edge_lstm.onnx_io.body import DOMAIN, Body
from edge_lstm.onnx_io.network_activations import ONNX_TYPE, FloatType, activate
from edge_lstm.onnx_io.own_format import tensor

Array = npt.NDArray[np.generic]


class FloatGraph:
    """The graph under construction: its nodes, initializers and functions; dtype: the type it computes in."""

    def __init__(self, dtype: FloatType) -> None:
        self.dtype, self.body = dtype, Body()
        self.functions: list[onnx.FunctionProto] = []
        self.initializers: list[onnx.TensorProto] = []

    @property
    def single(self) -> bool:
        """Whether it computes in float32."""
        return self.dtype is np.float32

    def constant(self, name: str, array: Array, dtype: FloatType | None = None) -> str:
        """An initializer with the bits of `array`, cast to `dtype` where it has another."""
        self.initializers.append(tensor(array, name))
        return name if dtype is None or array.dtype == dtype else self.body.emit("Cast", name, to=ONNX_TYPE[dtype])


def add_layer(graph: FloatGraph, layer: Layer, label: str, value: str, *, sequence: bool, backward: int) -> str:
    """Appends the layer and returns the name of its result.

    sequence: whether `value` is [batch, time, n], not [batch, n]; backward: how many of its last columns were made in reverse.
    """
    if isinstance(layer, ReadOut):
        return _read_out(graph, layer, value, backward)
    if isinstance(layer, Dense):
        return _dense(graph, layer, label, value, sequence)
    if not sequence:
        raise EdgeLstmError(f"{label}: a {type(layer).__name__} layer must come before the read-out")
    if isinstance(layer, Recurrent):
        return _recurrent(graph, layer, label, value)
    if isinstance(layer, Bidirectional):
        forward = _recurrent(graph, layer.forward, f"{label}.forward", value)
        return graph.body.emit("Concat", forward, _recurrent(graph, layer.backward, f"{label}.backward", value), axis=-1)
    return _convolution(graph, layer, label, value) if isinstance(layer, Conv1d) else _pool(graph, layer, value)


def standard_form(layer: Recurrent, dtype: FloatType) -> network_standard.Form | None:
    """ONNX's own operator for the layer in a graph of this type, if it has one."""
    return network_standard.form_of(layer) if dtype is np.float32 else None


def _recurrent(graph: FloatGraph, layer: Recurrent, label: str, value: str) -> str:
    name = layer.cell.name
    if name not in cells.family() or cells.cell(name) != layer.cell:
        raise EdgeLstmError(f"{label}: cell {name!r} is not in the family, so that no file of it can be read; add it to edge_lstm/cells")
    form = standard_form(layer, graph.dtype)
    if form is not None:
        return _operator(graph, layer, form, label, value)
    function = network_function.recurrent(layer, f"{name}_{label.replace('.', '_')}", graph.dtype)
    graph.functions.append(function)
    inputs = [graph.constant(f"{label}.{name}", array) for name, array in network_function.arrays(layer).items()]
    return graph.body.emit(function.name, value, *inputs, domain=DOMAIN, name=label)


def _operator(graph: FloatGraph, layer: Recurrent, form: network_standard.Form, label: str, value: str) -> str:
    """Transpose to [time, batch, inputs], ONNX's operator, and back without its axis of directions."""
    body = graph.body
    constants = {name: graph.constant(f"{label}.{name}", array) for name, array in network_standard.stack(layer, form).items()}
    initial = {state: _initial(graph, f"{label}.initial.{state}", values, value) for state, values in layer.initial.items()}
    inputs = [body.emit("Transpose", value, perm=[1, 0, 2]), constants["W"], constants["R"], constants["B"], "", initial.get("h", "")]
    inputs += [initial.get("c", ""), constants.get("P", "")] if form.operator == "LSTM" else []
    while not inputs[-1]:
        inputs.pop()
    outputs = body.emit(form.operator, *inputs, name=label, **network_standard.attributes(layer, form))
    return body.emit("Transpose", body.emit("Squeeze", outputs, body.constant([1], np.int64)), perm=[1, 0, 2])


def _initial(graph: FloatGraph, name: str, array: npt.NDArray[np.floating], value: str) -> str:
    """An initial state [units] as [1, batch, units]."""
    body = graph.body
    one = body.constant([1], np.int64)
    shape = body.emit("Concat", one, body.emit("Shape", value, start=0, end=1), one, axis=0)
    return body.emit("Expand", body.emit("Unsqueeze", graph.constant(name, array), body.constant([0, 1], np.int64)), shape)


def _read_out(graph: FloatGraph, layer: ReadOut, value: str, backward: int) -> str:
    body = graph.body
    if layer.kind == "every":
        return value
    if layer.kind == "mean":
        return body.emit("ReduceMean", value, body.constant([1], np.int64), keepdims=0)
    return body.final(value, backward if layer.kind == "final" else 0)


def _dense(graph: FloatGraph, layer: Dense, label: str, value: str, sequence: bool) -> str:
    """Gemm of vectors; MatMul and Add of sequences."""
    b = graph.constant(f"{label}.b", layer.b, graph.dtype)
    if sequence:
        total = graph.body.emit("Add", graph.body.emit("MatMul", value, graph.constant(f"{label}.W", layer.W.T, graph.dtype)), b)
    else:
        total = graph.body.emit("Gemm", value, graph.constant(f"{label}.W", layer.W, graph.dtype), b, transB=1)
    return activate(graph.body, total, layer.activation, graph.dtype)


def _convolution(graph: FloatGraph, layer: Conv1d, label: str, value: str) -> str:
    body = graph.body
    W, b = graph.constant(f"{label}.W", layer.W, graph.dtype), graph.constant(f"{label}.b", layer.b, graph.dtype)
    if graph.single:
        attributes = {"strides": [layer.stride], "pads": list(layer.padding), "dilations": [layer.dilation]}
        total = _over_time(body, "Conv", [value, W, b], kernel_shape=[layer.W.shape[2]], **attributes)
    else:
        padded = body.padded(value, layer.padding, graph.dtype)
        total = b
        for k, part in enumerate(body.taps(padded, layer.W.shape[2], layer.stride, layer.dilation)):
            tap = body.emit("Gather", W, body.constant(k, np.int64), axis=2)
            total = body.emit("Add", total, body.emit("MatMul", part, body.emit("Transpose", tap, perm=[1, 0])))
    return activate(body, total, layer.activation, graph.dtype)


def _pool(graph: FloatGraph, layer: Pool, value: str) -> str:
    if graph.single:
        operator = "AveragePool" if layer.kind == "average" else "MaxPool"
        return _over_time(graph.body, operator, [value], kernel_shape=[layer.size], strides=[layer.stride])
    parts = graph.body.taps(value, layer.size, layer.stride, 1)
    if layer.kind == "max":
        return graph.body.emit("Max", *parts)
    return graph.body.emit("Div", graph.body.emit("Sum", *parts), graph.body.constant(float(layer.size), graph.dtype))


def _over_time(body: Body, operator: str, inputs: list[str], **attributes: list[int]) -> str:
    """An operator on [batch, channels, time] applied to [batch, time, channels]."""
    turned = body.emit("Transpose", inputs[0], perm=[0, 2, 1])
    return body.emit("Transpose", body.emit(operator, turned, *inputs[1:], **attributes), perm=[0, 2, 1])
