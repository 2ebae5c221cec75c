"""Reading a part of a graph, and graphs of one step whose states are inputs and outputs, as third-party models have them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from read_graphs import Graph, layers, runtime

from edge_lstm.errors import EdgeLstmError
from edge_lstm.onnx_io.read import UnsupportedModel, read_network

INPUTS, UNITS, CLASSES, STEPS = 5, 8, 4, 11


def attitude() -> tuple[Graph, dict[str, str]]:
    """Two GRU layers with their states as an input, a convolution over one step as the output layer, and a vector scaled to length 1."""
    graph = Graph({"x": (1, "time", INPUTS), "h0": (2, 1, 1, UNITS)}, opset=12)
    value = graph.node("Div", graph.node("Sub", "x", graph.random(1, 1, INPUTS)), graph.constant(graph.rng.uniform(0.5, 2, (1, 1, INPUTS))))
    value, finals = graph.node("Transpose", value, perm=[1, 0, 2]), []
    for k in range(2):
        state = graph.node("Gather", "h0", graph.constant(k), axis=0)
        y, y_h = graph.recurrent("GRU", value, UNITS if k else INPUTS, UNITS, states=[state], linear_before_reset=1)
        value = graph.node("Squeeze", y, axes=[1])
        finals.append(graph.node("Unsqueeze", y_h, axes=[0]))
    conv = graph.node("Conv", graph.node("Transpose", value, perm=[1, 2, 0]), graph.random(CLASSES, UNITS, 1), graph.random(CLASSES))
    raw = graph.node("Transpose", conv, perm=[0, 2, 1])
    length = graph.node("Sqrt", graph.node("ReduceSum", graph.node("Mul", raw, raw), axes=[-1]))
    return graph, {"raw": raw, "states": graph.node("Concat", *finals, axis=0), "output": graph.node("Div", raw, length)}


def test_the_part_up_to_a_value_is_read() -> None:
    graph, names = attitude()
    model = graph.model(names["output"], names["states"])
    with pytest.raises(UnsupportedModel) as error:
        read_network(model)
    assert any("Sqrt" in reason for reason in error.value.reasons)
    network = read_network(model, end=names["raw"])
    assert layers(network) == ["gru", "gru", "every", "Dense"]
    assert network.metadata["onnx_state_inputs"] == "h0"
    x = graph.rng.normal(0, 1, (1, STEPS, INPUTS)).astype(np.float32)
    (expected,) = runtime(graph.model(names["raw"]), {"x": x, "h0": np.zeros((2, 1, 1, UNITS), np.float32)})
    np.testing.assert_allclose(network(x), expected, rtol=0, atol=1e-5)


def test_the_part_from_a_value_on_is_read() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    front = graph.node("Sqrt", graph.node("Add", graph.node("Mul", "x", "x"), graph.constant(0.1)))
    y = graph.recurrent("LSTM", graph.node("Transpose", front, perm=[1, 0, 2]), INPUTS, UNITS)[0]
    output = graph.node("Squeeze", y, graph.constant([1]))
    model = graph.model(output)
    network = read_network(model, start=front)
    assert network.metadata["onnx_input"] == front
    x = graph.rng.normal(0, 1, (3, STEPS, INPUTS)).astype(np.float32)
    (expected,) = runtime(model, {"x": x})
    np.testing.assert_allclose(network(np.sqrt(x * x + np.float32(0.1))).transpose(1, 0, 2), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cut", [{"start": "nothing"}, {"end": "nothing"}])
def test_a_value_that_is_not_there_is_named(cut: dict[str, str]) -> None:
    graph, names = attitude()
    with pytest.raises(EdgeLstmError, match="no value 'nothing'"):
        read_network(graph.model(names["output"]), **cut)


def one_step(seed: int) -> tuple[Graph, onnx.ModelProto]:
    """Two LSTM layers over one step, all states in one tensor [1, layers, units, 2], as Keras models are exported for streaming."""
    graph = Graph({"x": (1, 1, INPUTS), "state": (1, 2, UNITS, 2)}, opset=11, seed=seed)
    value, h, c = "x", [], []
    for k in range(2):
        states = []
        for which in (0, 1):
            limits = ([0, k, 0, which], [2**62, k + 1, 2**62, which + 1], [0, 1, 2, 3], [1, 1, 1, 1])
            part = graph.node("Slice", "state", *(graph.constant(n) for n in limits))
            states.append(graph.node("Unsqueeze", graph.node("Squeeze", part, axes=[1, 3]), axes=[0]))
        steps_first = graph.node("Transpose", value, perm=[1, 0, 2])
        y, y_h, y_c = graph.recurrent("LSTM", steps_first, UNITS if k else INPUTS, UNITS, states=states)
        value = graph.node("Squeeze", graph.node("Transpose", y, perm=[2, 1, 0, 3]), axes=[1])
        for kept, final in ((h, y_h), (c, y_c)):
            kept.append(graph.node("Unsqueeze", graph.node("Squeeze", final, axes=[0]), axes=[1]))
    scores = graph.node("Sigmoid", graph.node("Add", graph.node("MatMul", value, graph.random(UNITS, CLASSES)), graph.random(CLASSES)))
    stacked = [graph.node("Unsqueeze", graph.node("Concat", *kept, axis=1), axes=[-1]) for kept in (h, c)]
    state = graph.node("Concat", *stacked, axis=-1)
    model = graph.model(scores, state)
    model.graph.output[1].CopyFrom(helper.make_tensor_value_info(state, TensorProto.FLOAT, [1, 2, UNITS, 2]))
    return graph, model


def test_a_graph_of_one_step_is_read_as_the_network_that_runs_it_step_by_step() -> None:
    graph, model = one_step(3)
    network = read_network(model)
    assert layers(network) == ["lstm", "lstm", "every", "Dense"]
    assert network.window == 0
    x = graph.rng.normal(0, 1, (1, STEPS, INPUTS)).astype(np.float32)
    state, outputs = np.zeros((1, 2, UNITS, 2), np.float32), []
    for t in range(STEPS):
        y, state = runtime(model, {"x": x[:, t : t + 1], "state": state})
        outputs.append(y)
    np.testing.assert_allclose(network(x), np.concatenate(outputs, 1), rtol=0, atol=1e-5)
