"""Float network -> ONNX model that any ONNX Runtime runs and `network_read` reads back exactly.

A layer that ONNX has an operator for is written as that operator, as PyTorch's exporter does; any other becomes a node of domain
`edge_lstm` whose body is a function of standard operators.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edge_lstm import files
from edge_lstm.errors import EdgeLstmError
from edge_lstm.features import Features
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Network, Preprocess, ReadOut, Recurrent
from edge_lstm.onnx_io import network_function
from edge_lstm.onnx_io.body import DOMAIN, DOMAIN_VERSION, IR_VERSION, OPSET, Body
from edge_lstm.onnx_io.features import write_features
from edge_lstm.onnx_io.network_activations import ONNX_TYPE, FloatType, float_type
from edge_lstm.onnx_io.network_definition import definition
from edge_lstm.onnx_io.network_layers import FloatGraph, add_layer
from edge_lstm.onnx_io.own_format import stamp, to_text


def network_model(network: Network) -> onnx.ModelProto:
    """The network as an ONNX model.

    Input  x: [batch, time, inputs] of the type of the weights; or, when the network preprocesses,
           counts: float32 [batch, samples, channels], raw sensor counts (samples of an unfinished block are dropped).
    Output output: [batch, outputs], or [batch, time, outputs] when every step is read out; after the softmax if the network has one.
    Raises EdgeLstmError for a cell outside the family or weights that are neither float32 nor float64.
    """
    graph = FloatGraph(_precision(network))
    value = "x" if network.preprocess is None else _preprocess(graph, network.preprocess)
    sequence, backward = True, 0
    for index, layer in enumerate(network.layers):
        value = add_layer(graph, layer, f"layer{index}", value, sequence=sequence, backward=backward)
        sequence = sequence and not (isinstance(layer, ReadOut) and layer.kind != "every")
        backward = _columns_in_reverse(layer)
    if network.softmax:
        value = graph.body.emit("Softmax", value, axis=-1)
    graph.body.rename(value, "output")
    return _finish(network, graph, ["batch", "time"] if sequence else ["batch"])


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Writes the model atomically; the same network gives the same bytes. Raises EdgeLstmError as `network_model` does."""
    files.write_bytes(path, network_model(network).SerializeToString(deterministic=True))


def _precision(network: Network) -> FloatType:
    """float32 when every weight is, else float64. Refuses other types."""
    weights = [array for layer in network.layers for array in _weights(layer)]
    given = {array.dtype for array in weights}
    if network.preprocess is not None:
        given |= {network.preprocess.offset.dtype, network.preprocess.scale.dtype}
    strange = given - {np.dtype(np.float32), np.dtype(np.float64)}
    if strange:
        raise EdgeLstmError(f"weights of type {', '.join(sorted(map(str, strange)))} cannot be saved; convert them to float32")
    return float_type(weights)


def _weights(layer: Layer) -> list[npt.NDArray[np.floating]]:
    if isinstance(layer, Bidirectional):
        return _weights(layer.forward) + _weights(layer.backward)
    if isinstance(layer, Recurrent):
        return list(network_function.arrays(layer).values())
    return [layer.W, layer.b] if isinstance(layer, (Dense, Conv1d)) else []


def _columns_in_reverse(layer: Layer) -> int:
    """How many of the last columns of the layer's output a reversed layer made."""
    if isinstance(layer, Bidirectional):
        return layer.backward.units
    return layer.units if isinstance(layer, Recurrent) and layer.reverse else 0


def _preprocess(graph: FloatGraph, front: Preprocess) -> str:
    """(block mean or feature - offset) * scale in float64, as float inference does, then in the type of the weights."""
    body = graph.body
    wide = body.emit("Cast", "counts", to=TensorProto.DOUBLE)
    if front.features is not None:
        wide = body.emit("Cast", _features(body, front, front.features, wide), to=TensorProto.DOUBLE)
    elif front.decimation > 1:
        wide = body.emit("ReduceMean", body.blocks("counts", wide, front.decimation), body.constant([2], np.int64), keepdims=0)
    centred = body.emit("Sub", wide, graph.constant("preprocess.offset", front.offset, np.float64))
    scaled = body.emit("Mul", centred, graph.constant("preprocess.scale", front.scale, np.float64))
    return body.emit("Cast", scaled, to=ONNX_TYPE[graph.dtype])


def _features(body: Body, front: Preprocess, features: Features, counts: str) -> str:
    """The integer features, int32, of counts that are rounded first."""
    rounded = body.emit("Floor", body.emit("Add", counts, body.constant(0.5, np.float64)))
    inside = body.emit("Clip", rounded, *(body.constant(edge, np.float64) for edge in (-32768, 32767)))
    wide = body.emit("Cast", inside, to=TensorProto.INT32)
    if front.decimation > 1:
        wide = body.emit("ReduceSum", body.blocks("counts", wide, front.decimation), body.constant([2], np.int64), keepdims=0)
    return write_features(body, features, wide, front.decimation)


def _finish(network: Network, graph: FloatGraph, shape: list[str]) -> onnx.ModelProto:
    name, dtype, axis = ("x", ONNX_TYPE[graph.dtype], "time") if network.preprocess is None else ("counts", TensorProto.FLOAT, "samples")
    proto = helper.make_graph(
        graph.body.finished_nodes(),
        network.name or "network",
        [helper.make_tensor_value_info(name, dtype, ["batch", axis, network.inputs])],
        [helper.make_tensor_value_info("output", ONNX_TYPE[graph.dtype], [*shape, network.outputs])],
        graph.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    model = helper.make_model(proto, functions=graph.functions, opset_imports=opsets, ir_version=IR_VERSION)
    stamp(model, "float", to_text(definition(network, graph.dtype)))
    return model
