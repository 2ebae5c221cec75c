"""Graphs that end in the number of a class (ArgMax), and Flatten where it changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from read_graphs import Graph, assert_reads, layers, runtime

from edge_lstm.onnx_io.read import read_network

INPUTS, UNITS, CLASSES, STEPS = 5, 8, 4, 11


def scores_of(graph: Graph, read_out: str) -> str:
    """LSTM -> last or every step -> Linear; [batch, classes] or [batch, time, classes]."""
    y = graph.recurrent("LSTM", graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, UNITS)[0]
    value = graph.node("Transpose", graph.node("Squeeze", y, graph.constant([1])), perm=[1, 0, 2])
    if read_out == "last":
        value = graph.node("Gather", value, graph.constant(-1), axis=1)
    return graph.node("Add", graph.node("MatMul", value, graph.random(UNITS, CLASSES)), graph.random(CLASSES))


def with_integers(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The model with these outputs as integers."""
    for output in model.graph.output:
        if output.name in names:
            output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.INT64, None))
    return model


@pytest.mark.parametrize("read_out", ["last", "every"])
@pytest.mark.parametrize("tail", ["plain", "kept axis", "softmax", "cast"])
def test_the_class_is_read_as_the_scores_it_is_taken_from(read_out: str, tail: str) -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    scores = scores_of(graph, read_out)
    value = graph.node("Softmax", scores, axis=-1) if tail == "softmax" else scores
    value = graph.node("ArgMax", value, axis=-1, keepdims=int(tail == "kept axis"))
    if tail == "cast":
        value = graph.node("Cast", value, to=TensorProto.FLOAT)
    model = graph.model(value)
    model = model if tail == "cast" else with_integers(model, value)
    network = read_network(model)
    assert layers(network) == ["lstm", read_out, "Dense"]
    assert network.softmax == (tail == "softmax")
    assert network.metadata["onnx_output_argmax"] == "1"
    x = graph.rng.normal(0, 1.5, (7, STEPS, INPUTS)).astype(np.float32)
    (expected,) = runtime(model, {"x": x})
    found = network(x).argmax(-1)
    assert len(np.unique(found)) > 1
    np.testing.assert_array_equal(found, expected.reshape(found.shape))


def test_of_scores_and_their_class_the_scores_are_read() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    scores = scores_of(graph, "last")
    label = graph.node("ArgMax", scores, axis=1, keepdims=0)
    model = with_integers(graph.model(label, scores), label)
    network = read_network(model)
    assert network.metadata["onnx_output"] == scores
    assert "onnx_output_argmax" not in network.metadata
    x = graph.rng.normal(0, 1.5, (3, STEPS, INPUTS)).astype(np.float32)
    np.testing.assert_allclose(network(x), runtime(model, {"x": x})[1], rtol=0, atol=1e-5)


def last_step(graph: Graph, y: str, y_h: str) -> str:
    """[batch, 1, units], as x[:, -1:] is exported."""
    steps = graph.node("Transpose", graph.node("Squeeze", y, graph.constant([1])), perm=[1, 0, 2])
    return graph.node("Slice", steps, *(graph.constant([n]) for n in (-1, 2**63 - 1, 1)))


FLATTENED = {
    "of two axes": lambda graph, y, y_h: graph.node("Flatten", graph.node("Squeeze", y_h, graph.constant([0])), axis=1),
    "of a last step that kept its axis": lambda graph, y, y_h: graph.node("Flatten", last_step(graph, y, y_h)),
    "of the final state with its axis of layers": lambda graph, y, y_h: graph.node("Flatten", y_h, axis=2),
    "of a reshaped last step": lambda graph, y, y_h: graph.node("Reshape", last_step(graph, y, y_h), graph.constant([0, -1])),
}


@pytest.mark.parametrize("flattened", FLATTENED.values(), ids=FLATTENED)
@pytest.mark.parametrize(
    "shape", [(3, STEPS, INPUTS), ("batch", STEPS, INPUTS), ("batch", "time", INPUTS)], ids=["static", "batch", "dynamic"]
)
def test_flatten_of_one_step_is_that_step(flattened: Any, shape: Any) -> None:
    graph = Graph({"x": shape})
    y, y_h, _ = graph.recurrent("LSTM", graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, UNITS)
    value = graph.node("Gemm", flattened(graph, y, y_h), graph.random(CLASSES, UNITS), graph.random(CLASSES), transB=1)
    assert layers(assert_reads(graph.model(value), steps=STEPS)) == ["lstm", "last", "Dense"]
