"""Graphs as exporters write them, built node by node with random weights, and the comparison of what is read with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_lstm.network import Network
from edge_lstm.onnx_io.read import read_network

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS = 9
TOLERANCE = 1e-5

Shape = Sequence[int | str]


class Graph:
    """An ONNX graph under construction. Each method adds to it and returns the name of the new value."""

    def __init__(self, inputs: Mapping[str, Shape], opset: int = 17, *, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()]
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, array: Any, dtype: Any = None) -> str:
        values = np.asarray(array)
        values = values.astype(dtype or (np.int64 if values.dtype.kind == "i" else np.float32))
        self.initializers.append(numpy_helper.from_array(values, f"constant_{len(self.initializers)}"))
        return self.initializers[-1].name

    def random(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant(self.rng.normal(0, scale, shape).astype(np.float32))

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{operator.lower()}_{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=f"{operator}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def recurrent(
        self, operator: str, x: str, inputs: int, units: int, *, bias: bool = True, peepholes: bool = False,
        states: Sequence[str] = (), lengths: str = "", directions: int = 1, scale: float = 0.5, **attributes: Any,
    ) -> list[str]:  # fmt: skip
        """An LSTM, GRU or RNN node with random weights; its outputs Y, Y_h (and Y_c)."""
        rows = GATES[operator] * units
        given = [x, self.random(directions, rows, inputs, scale=scale), self.random(directions, rows, units, scale=scale)]
        given += [self.random(directions, 2 * rows, scale=scale) if bias else "", lengths, *states]
        if peepholes:
            given += [""] * (7 - len(given)) + [self.random(directions, 3 * units, scale=scale)]
        while given and not given[-1]:
            given.pop()
        return self.node(operator, *given, outputs=3 if operator == "LSTM" else 2, hidden_size=units, **attributes)

    def model(self, *outputs: str, name: str = "graph") -> onnx.ModelProto:
        results = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
        graph = helper.make_graph(self.nodes, name, self.inputs, results, self.initializers)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8 if self.opset < 20 else 10)


def runtime(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """What ONNX Runtime computes: all outputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))


def assert_reads(
    model: onnx.ModelProto, *, batch: int = 3, steps: int = STEPS, time_major: bool = False, seed: int = 1,
    feeds: Mapping[str, Any] | None = None,
) -> Network:  # fmt: skip
    """Reads the model, and holds what the network computes on random input against ONNX Runtime."""
    network = read_network(model)
    shape = (batch, steps, network.inputs)
    x = np.random.default_rng(seed).normal(0, 1.5, shape).astype(np.float32)
    (expected, *_) = runtime(model, {model.graph.input[0].name: x.transpose(1, 0, 2) if time_major else x, **(feeds or {})})
    found = network(x)
    if found.ndim == 3 and time_major:
        found = found.transpose(1, 0, 2)
    assert found.size == expected.size
    assert np.abs(expected).max() > 1e-3, "the test's output is as good as zero"
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=TOLERANCE)
    return network


def layers(network: Network) -> list[str]:
    """The chain as text, such as ["lstm", "last", "Dense"]."""
    return [layer.cell.name if hasattr(layer, "cell") else getattr(layer, "kind", type(layer).__name__) for layer in network.layers]
