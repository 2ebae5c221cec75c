"""The graphs that PyTorch and tf2onnx write for LSTM -> read-out -> Linear, node for node, read to the same outputs as ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from read_graphs import STEPS, Graph, assert_reads, layers

INPUTS, UNITS, CLASSES = 5, 7, 4
LARGEST = 2**63 - 1
SHAPES: dict[str, tuple[int | str, int | str, int]] = {
    "static": (3, 9, INPUTS),
    "dynamic batch": ("batch", 9, INPUTS),
    "dynamic time": (3, "time", INPUTS),
    "dynamic": ("batch", "time", INPUTS),
}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def dynamo_states(graph: Graph, layers: int) -> list[str]:
    """Zeros [layers, batch, units] as torch.export writes them, cut into one state for each layer."""
    batch = graph.node("Shape", "x", start=0, end=1)
    shape = graph.node("Concat", graph.constant([layers]), batch, graph.constant([UNITS]), axis=0)
    zeros = graph.node("Expand", graph.constant(np.float32(0)), shape)
    return [graph.node("Slice", zeros, graph.constant([k]), graph.constant([k + 1]), graph.constant([0])) for k in range(layers)]


def dynamo_output(graph: Graph, y: str) -> str:
    """Y [time, 1, batch, units] -> [time, batch, units] by a shape computed in the graph."""
    y = graph.node("Transpose", y, perm=[0, 2, 1, 3])
    shape = graph.node("Shape", y, start=0)
    sizes = [graph.node("Slice", shape, graph.constant([k]), graph.constant([k + 1])) for k in range(4)]
    width = graph.node("Reshape", graph.node("Mul", sizes[2], sizes[3]), graph.constant([-1]))
    return graph.node("Reshape", y, graph.node("Concat", sizes[0], sizes[1], width, axis=0), allowzero=0)


def dynamo(graph: Graph, count: int) -> str:
    """`count` LSTM layers as torch.onnx.export(dynamo=True) writes them; [batch, time, units]."""
    value, width = graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS
    for state in dynamo_states(graph, count):
        y, _, _ = graph.recurrent("LSTM", value, width, UNITS, states=[state, state], direction="forward", input_forget=0, layout=0)
        value, width = dynamo_output(graph, y), UNITS
    return graph.node("Transpose", value, perm=[1, 0, 2])


def scripted(graph: Graph, count: int) -> tuple[str, list[str]]:
    """`count` LSTM layers as torch.onnx.export(dynamo=False) writes them; [batch, time, units] and every layer's Y_h."""
    batch = graph.node("Unsqueeze", graph.node("Gather", graph.node("Shape", "x"), graph.constant(0), axis=0), graph.constant([0]))
    shape = graph.node("Concat", graph.constant([count]), batch, graph.constant([UNITS]), axis=0)
    zeros = graph.node("ConstantOfShape", shape)
    value, width, finals = graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, []
    for k in range(count):
        state = graph.node("Slice", zeros, graph.constant([k]), graph.constant([k + 1]), graph.constant([0])) if count > 1 else zeros
        y, y_h, _ = graph.recurrent("LSTM", value, width, UNITS, states=[state, state])
        value, width = graph.node("Squeeze", y, graph.constant([1])), UNITS
        finals.append(y_h)
    return graph.node("Transpose", value, perm=[1, 0, 2]), finals


def keras(graph: Graph, count: int) -> str:
    """`count` LSTM layers as tf2onnx writes them; the last one's [time, batch, units]."""
    value, width = "x", INPUTS
    for k in range(count):
        steps_first = graph.node("Transpose", value, perm=[1, 0, 2])
        sizes = graph.node("Cast", graph.node("Shape", value), to=6)
        batch = graph.node("Slice", sizes, graph.constant([0]), graph.constant([1]), graph.constant([0]))
        shape = graph.node("Cast", graph.node("Concat", batch, graph.constant([UNITS], np.int32), axis=0), to=7)
        state = graph.node("Unsqueeze", graph.node("Expand", graph.constant(np.float32(0)), shape), graph.constant([0]))
        y, _, _ = graph.recurrent("LSTM", steps_first, width, UNITS, states=[state, state], activations=["Sigmoid", "Tanh", "Tanh"])
        value, width = graph.node("Squeeze", y, graph.constant([1])), UNITS
        if k < count - 1:
            value = graph.node("Transpose", value, perm=[1, 0, 2])
    return value


def linear(graph: Graph, value: str) -> str:
    return graph.node("Gemm", value, graph.random(CLASSES, UNITS), graph.random(CLASSES), alpha=1.0, beta=1.0, transB=1)


@every_shape
@pytest.mark.parametrize("count", [1, 2, 3])
def test_pytorch_dynamo_last_step_by_gather(shape: Any, count: int) -> None:
    graph = Graph({"x": shape}, opset=20)
    value = graph.node("Gather", dynamo(graph, count), graph.constant(-1), axis=1)
    network = assert_reads(graph.model(linear(graph, value)))
    assert layers(network) == ["lstm"] * count + ["last", "Dense"]
    assert network.window == (9 if shape[1] == 9 else 0)


@every_shape
@pytest.mark.parametrize("softmax", [False, True])
def test_pytorch_dynamo_mean_over_time(shape: Any, softmax: bool) -> None:
    graph = Graph({"x": shape}, opset=20)
    mean = graph.node("ReduceMean", dynamo(graph, 2), graph.constant([1]), keepdims=0)
    scores = linear(graph, mean)
    network = assert_reads(graph.model(graph.node("Softmax", scores, axis=-1) if softmax else scores))
    assert layers(network) == ["lstm", "lstm", "mean", "Dense"]
    assert network.softmax == softmax


@every_shape
def test_pytorch_dynamo_linear_on_every_step(shape: Any) -> None:
    graph = Graph({"x": shape}, opset=20)
    product = graph.node("MatMul", dynamo(graph, 2), graph.random(UNITS, CLASSES))
    network = assert_reads(graph.model(graph.node("Add", product, graph.random(CLASSES))))
    assert layers(network) == ["lstm", "lstm", "every", "Dense"]


@every_shape
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("last", ["gather", "slice", "final state"])
def test_pytorch_torchscript(shape: Any, count: int, last: str) -> None:
    graph = Graph({"x": shape})
    y, finals = scripted(graph, count)
    if last == "gather":
        value = graph.node("Gather", y, graph.constant(-1), axis=1)
    elif last == "slice":
        cut = graph.node("Slice", y, graph.constant([-1]), graph.constant([LARGEST]), graph.constant([1]), graph.constant([1]))
        value = graph.node("Squeeze", cut, graph.constant([1]))
    else:
        joined = graph.node("Concat", *finals, axis=0) if count > 1 else finals[0]
        value = graph.node("Gather", joined, graph.constant(-1), axis=0)
    assert layers(assert_reads(graph.model(linear(graph, value)))) == ["lstm"] * count + ["last", "Dense"]


@pytest.mark.parametrize("shape", [("batch", 9, INPUTS), (3, 9, INPUTS)])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_keras_by_tf2onnx(shape: Any, count: int, bias: bool) -> None:
    graph = Graph({"x": shape}, opset=15)
    cut = graph.node("Slice", keras(graph, count), graph.constant([-1]), graph.constant([2**31 - 1]), graph.constant([0]))
    value = graph.node("MatMul", graph.node("Squeeze", cut, graph.constant([0])), graph.random(UNITS, CLASSES))
    value = graph.node("Add", value, graph.random(CLASSES)) if bias else value
    network = assert_reads(graph.model(graph.node("Softmax", value)))
    assert layers(network) == ["lstm"] * count + ["last", "Dense"]
    assert network.softmax


@pytest.mark.parametrize("shape", [("time", "batch", INPUTS), (9, 3, INPUTS)])
@pytest.mark.parametrize("tail", ["last", "mean", "every"])
def test_time_major_graphs(shape: Any, tail: str) -> None:
    graph = Graph({"x": shape})
    y, _, _ = graph.recurrent("LSTM", "x", INPUTS, UNITS)
    value = graph.node("Squeeze", y, graph.constant([1]))
    if tail == "last":
        value = graph.node("Gather", value, graph.constant(-1), axis=0)
    elif tail == "mean":
        value = graph.node("ReduceMean", value, axes=[0], keepdims=0)
    network = assert_reads(graph.model(graph.node("MatMul", value, graph.random(UNITS, CLASSES))), time_major=True)
    assert network.read_out.kind == tail


@pytest.mark.parametrize("opset", [9, 11])
def test_axes_as_attributes_of_old_opsets(opset: int) -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)}, opset=opset)
    y, _, _ = graph.recurrent("LSTM", graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, UNITS)
    if opset == 9:
        cut = graph.node("Slice", y, starts=[-1], ends=[LARGEST], axes=[0])
    else:
        cut = graph.node("Slice", y, graph.constant([-1]), graph.constant([LARGEST]), graph.constant([0]))
    value = graph.node("Squeeze", cut, axes=[0, 1])
    assert layers(assert_reads(graph.model(graph.node("Softmax", linear(graph, value), axis=1)))) == ["lstm", "last", "Dense"]


def test_last_step_by_an_index_that_the_graph_computes() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    y, _ = scripted(graph, 1)
    steps = graph.node("Gather", graph.node("Shape", y), graph.constant(1), axis=0)
    index = graph.node("Sub", steps, graph.constant(1))
    assert_reads(graph.model(linear(graph, graph.node("Gather", y, index, axis=1))))


def test_weights_that_the_graph_computes_are_folded() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    y, _ = scripted(graph, 1)
    weights = graph.node("Transpose", graph.node("Concat", graph.random(1, UNITS), graph.random(CLASSES - 1, UNITS), axis=0), perm=[1, 0])
    value = graph.node("Gather", y, graph.constant(-1), axis=1)
    product = graph.node("MatMul", value, graph.node("Mul", weights, graph.random(1)))
    assert_reads(graph.model(graph.node("Add", graph.random(CLASSES), product)))


def test_a_branch_whose_condition_is_known_is_taken() -> None:
    from onnx import TensorProto, helper

    graph = Graph({"x": ("batch", "time", INPUTS)})
    y, _ = scripted(graph, 1)
    value = graph.node("Gather", y, graph.constant([-1]), axis=1)
    size = graph.node("Gather", graph.node("Shape", value), graph.constant(1), axis=0)
    axes = graph.constant([1])

    def branch(name: str, *node: Any) -> Any:
        return helper.make_graph([helper.make_node(*node)], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])

    squeezed = graph.node(
        "If",
        graph.node("Equal", size, graph.constant(1)),
        then_branch=branch("squeezed", "Squeeze", [value, axes], ["squeezed"]),
        else_branch=branch("same", "Identity", [value], ["same"]),
    )
    assert_reads(graph.model(linear(graph, squeezed)))


@pytest.mark.parametrize("one_first", [False, True])
def test_pytorch_softsign(one_first: bool) -> None:
    """x / (1 + |x|) in three nodes."""
    graph = Graph({"x": (STEPS, "batch", 4)})
    state = graph.node("Squeeze", graph.recurrent("LSTM", "x", 4, 6)[1], graph.constant([0]))
    hidden = graph.node("Gemm", state, graph.random(6, 8, scale=2.0), graph.random(8))
    terms = [graph.node("Abs", hidden), graph.constant(np.float32(1))]
    softsign = graph.node("Div", hidden, graph.node("Add", *(terms[::-1] if one_first else terms)))
    network = assert_reads(graph.model(graph.node("MatMul", softsign, graph.random(8, 3))), time_major=True)
    assert network.layers[2].activation.kind == "softsign"


@pytest.mark.parametrize(
    ("operator", "attributes", "kind"),
    [
        ("LeakyRelu", {}, "leaky_relu(0.01)"),
        ("LeakyRelu", {"alpha": 0.3}, "leaky_relu(0.3)"),
        ("LeakyRelu", {"alpha": 0.0}, "relu"),
        ("Elu", {}, "elu(1)"),
        ("Elu", {"alpha": 0.4}, "elu(0.4)"),
        ("Gelu", {}, "gelu"),
        ("Gelu", {"approximate": "tanh"}, "gelu_tanh"),
    ],
)
def test_activations_of_dense_layers_without_an_upper_limit(operator: str, attributes: dict[str, Any], kind: str) -> None:
    graph = Graph({"x": (STEPS, "batch", 4)}, opset=20)
    state = graph.node("Squeeze", graph.recurrent("LSTM", "x", 4, 6)[1], graph.constant([0]))
    hidden = graph.node(operator, graph.node("Gemm", state, graph.random(6, 8, scale=2.0), graph.random(8)), **attributes)
    network = assert_reads(graph.model(graph.node("MatMul", hidden, graph.random(8, 3))), time_major=True)
    assert str(network.layers[2].activation) == kind


@pytest.mark.parametrize("time_distributed", [False, True])
def test_flattening_batch_and_time_around_a_dense_layer(time_distributed: bool) -> None:
    """Keras writes TimeDistributed as Reshape to [batch * time, features], MatMul, Reshape back."""
    graph = Graph({"x": ("batch", 9, INPUTS)})
    value, _ = scripted(graph, 1)
    if time_distributed:
        value = graph.node("Reshape", value, graph.constant([-1, UNITS]))
    value = graph.node("MatMul", value, graph.random(UNITS, CLASSES))
    if time_distributed:
        value = graph.node("Reshape", value, graph.constant([-1, 9, CLASSES]))
    assert layers(assert_reads(graph.model(value))) == ["lstm", "every", "Dense"]
