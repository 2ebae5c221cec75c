"""Models that ONNX Runtime has quantized dynamically are read with the quantized weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from read_graphs import Graph, layers, runtime

from edge_lstm.onnx_io.read import UnsupportedModel, read_network

INPUTS, UNITS, CLASSES = 5, 12, 4


def float_model(every: bool, count: int = 2) -> onnx.ModelProto:
    graph = Graph({"x": ("batch", "time", INPUTS)}, seed=count)
    value, width = graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS
    for _ in range(count):
        value, width = graph.node("Squeeze", graph.recurrent("LSTM", value, width, UNITS)[0], graph.constant([1])), UNITS
    if every:
        value = graph.node("MatMul", graph.node("Transpose", value, perm=[1, 0, 2]), graph.random(UNITS, CLASSES))
        return graph.model(graph.node("Add", value, graph.random(CLASSES)))
    last = graph.node("Gather", value, graph.constant(-1), axis=0)
    return graph.model(graph.node("Gemm", last, graph.random(CLASSES, UNITS), graph.random(CLASSES), transB=1))


def quantized(model: onnx.ModelProto, folder: Path, per_channel: bool, weights: QuantType = QuantType.QInt8) -> onnx.ModelProto:
    onnx.save(model, folder / "float.onnx")
    types = ["LSTM", "MatMul", "Gemm"]
    quantize_dynamic(folder / "float.onnx", folder / "int8.onnx", op_types_to_quantize=types, weight_type=weights, per_channel=per_channel)
    return onnx.load(folder / "int8.onnx")


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("weights", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("every", [False, True])
def test_weights_are_those_of_the_quantized_model(per_channel: bool, weights: QuantType, every: bool, tmp_path: Path) -> None:
    model = quantized(float_model(every), tmp_path, per_channel, weights)
    assert {"DynamicQuantizeLSTM", "MatMulInteger"} <= {node.op_type for node in model.graph.node}
    network, original = read_network(model), read_network(float_model(every))
    assert layers(network) == layers(original) == ["lstm", "lstm", "every" if every else "last", "Dense"]
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "DynamicQuantizeLSTM"]
    for node, layer in zip(nodes, network.recurrent, strict=True):
        q, scale, zero = (tensors[node.input[k]] for k in (1, 8, 9))
        W = (q[0].astype(float) - zero.reshape(1, -1)) * scale.reshape(1, -1)  # [inputs, gates i o f c]
        np.testing.assert_allclose(layer.rows["f"].W, W[:, 2 * UNITS : 3 * UNITS].T, rtol=0, atol=1e-7)
    for mine, theirs in zip(network.recurrent, original.recurrent, strict=True):
        difference = np.abs(mine.rows["i"].R[0] - theirs.rows["i"].R[0])
        assert 0 < difference.max() < 0.02
    x = np.random.default_rng(2).normal(0, 1, (4, 9, INPUTS)).astype(np.float32)
    # ONNX Runtime also rounds the inputs of each product to 8 bits, so it agrees only as far as that rounding allows.
    assert np.abs(network(x) - runtime(model, {"x": x})[0]).max() < 0.05
    assert np.abs(network(x) - original(x)).max() < 0.05


def test_static_quantization_of_the_signal_is_refused() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    scale, zero = graph.constant(0.1), graph.constant(0, np.int8)
    value = graph.node("DequantizeLinear", graph.node("QuantizeLinear", "x", scale, zero), scale, zero)
    y = graph.recurrent("LSTM", graph.node("Transpose", value, perm=[1, 0, 2]), INPUTS, UNITS)[0]
    with pytest.raises(UnsupportedModel, match="operator QuantizeLinear is not supported"):
        read_network(graph.model(y))
