"""What is no chain of supported layers is refused: by name, with what to do, every reason at once, and never a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph
from read_graphs import Graph, runtime

from edge_lstm import onnx_io
from edge_lstm.errors import EdgeLstmError
from edge_lstm.onnx_io.read import UnsupportedModel, read_network

INPUTS, UNITS, CLASSES = 4, 6, 3


def sequence(graph: Graph, operator: str = "LSTM", **options: Any) -> str:
    """[time, batch, units] behind one recurrent layer."""
    y = graph.recurrent(operator, graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, UNITS, **options)[0]
    return graph.node("Squeeze", y, graph.constant([1]))


def last(graph: Graph, value: str) -> str:
    return graph.node("Gather", value, graph.constant(-1), axis=0)


def linear(graph: Graph, value: str) -> str:
    return graph.node("Gemm", value, graph.random(CLASSES, UNITS), graph.random(CLASSES), transB=1)


def refused(graph: Graph, *outputs: str) -> tuple[str, ...]:
    with pytest.raises(UnsupportedModel) as error:
        read_network(graph.model(*outputs))
    assert isinstance(error.value, EdgeLstmError)
    assert "\n" not in str(error.value)
    assert error.value.reasons[0] in str(error.value)
    return error.value.reasons


def on_last(operator: str, *more: Any, **attributes: Any) -> Callable[[Graph], str]:
    return lambda graph: graph.node(operator, last(graph, sequence(graph)), *(graph.constant(m) for m in more), **attributes)


def recurrent(operator: str = "LSTM", **options: Any) -> Callable[[Graph], str]:
    return lambda graph: last(graph, sequence(graph, operator, **options))


def on_sequence(operator: str, *more: Any, **attributes: Any) -> Callable[[Graph], str]:
    return lambda graph: graph.node(operator, sequence(graph), *(graph.constant(m) for m in more), **attributes)


CASES: dict[str, tuple[Callable[[Graph], str], str]] = {
    "operator": (on_last("LayerNormalization", np.ones(UNITS)), r"LayerNormalization_\d+: operator LayerNormalization is not supported: "),
    "activation": (on_last("Selu"), r"Selu node Selu_\d+: operator Selu is not supported"),
    "arg max over time": (lambda g: g.node("ArgMax", sequence(g), axis=0), r"reads axis .* as the features"),
    "the last of equal classes": (on_last("ArgMax", axis=1, select_last_index=1), "select_last_index"),
    "a layer on the class": (lambda g: g.node("Relu", on_last("ArgMax", axis=1)(g)), "behind an ArgMax"),
    "middle step": (on_sequence("Gather", 3, axis=0), r"Gather node Gather_\d+: takes step 3 of .*only the last step"),
    "first step": (on_sequence("Gather", 0, axis=0), r"takes step 0"),
    "two steps": (on_sequence("Gather", [-2, -1], axis=0), r"takes several elements along axis 0"),
    "several steps": (on_sequence("Slice", [-3], [2**31], [0]), r"takes elements -3 to \d+ along axis 0"),
    "backwards": (on_sequence("Slice", [-1], [-(2**31)], [0], [-1]), r"reverses axis 0"),
    "one unit": (on_last("Gather", 2, axis=1), r"takes element 2 along axis 1"),
    "largest step": (on_sequence("ReduceMax", axes=[0], keepdims=0), r"operator ReduceMax is not supported"),
    "mean over units": (on_last("ReduceMean", axes=[1]), r"averages over axis 1"),
    "softmax over time": (on_sequence("Softmax", axis=0), r"reads axis x\[1\] as the features axis"),
    "another input": (
        lambda g: g.node("MatMul", g.node("Concat", value := last(g, sequence(g)), value, axis=1), g.random(2 * UNITS, CLASSES)),
        r"several signals side by side.*only a chain of layers is read"),
    "skip connection": (lambda g: g.node("Add", value := last(g, sequence(g)), value), r"combines two signals"),
    "flatten": (lambda g: g.node("Gemm", g.node("Flatten", g.node("Transpose", sequence(g), perm=[1, 0, 2])), g.random(9 * UNITS, CLASSES)),
                r"merges several axes.*Flatten.*last step"),
    "heads": (on_last("Reshape", [0, 2, UNITS // 2]), r"cuts an axis into pieces"),
    "bias per step": (lambda g: g.node("Add", sequence(g), g.random(9, 1, UNITS)), r"constant of shape \[9, 1, 6\]"),
    "magnitude": (lambda g: g.node("Abs", last(g, sequence(g))), r"the magnitude of the signal"),
    "magnitude plus 2": (lambda g: g.node("Add", g.node("Abs", last(g, sequence(g))), g.constant(np.float32(2))),
                         r"Add node Add_\d+: computes with the magnitude of the signal; of this only x / \(1 \+ \|x\|\) is read"),
    "slope": (on_last("LeakyRelu", alpha=-0.5), r"attribute alpha = -0.5 must be positive"),
    "clip": (on_last("Clip", 1.0, 2.0), r"clips to 1 \.\.\. 2"),
    "wrong weights": (lambda g: g.node("MatMul", last(g, sequence(g)), g.random(UNITS, CLASSES, 1)), r"multiplies by weights"),
    "behind softmax": (lambda g: g.node("Relu", g.node("Softmax", last(g, sequence(g)), axis=1)), r"Relu_\d+: computes on behind a Soft"),
    "training": (lambda g: g.node("Dropout", last(g, sequence(g)), "", g.constant(True, bool)), r"training mode.*model.eval"),
    "direction": (recurrent(direction="sideways"), r"LSTM node LSTM_\d+: attribute direction = sideways is unknown"),
    "unknown activation": (recurrent(activations=["Sigmoid", "Tanh", "Gelu"]), r"unknown function Gelu"),
    "unread activation": (recurrent(activations=["Sigmoid", "Elu", "Tanh"]), r"activation Elu with alpha 1 is not read"),
    "unread parameters": (recurrent("RNN", activations=["Affine"], activation_alpha=[2.0]), r"activation Affine with alpha 2 and beta 0"),
    "parameters left": (recurrent(activation_alpha=[0.3]), r"activation_alpha has 1 value\(s\) more"),
    "too many activations": (recurrent("GRU", activations=["Sigmoid"] * 4), r"has 4 functions; 1 direction\(s\) of a GRU have 2"),
    "initial states that differ": (
        lambda g: last(g, sequence(g, states=[g.random(1, 3, UNITS)])), r"initial state h differs between the sequences"),
    "initial state of a wrong shape": (
        lambda g: last(g, sequence(g, states=[g.random(1, 3, 2)])), r"state h is a constant of shape \[1, 3, 2\], expected \[1, 3, 6\]"),
    "lengths": (lambda g: last(g, sequence(g, lengths=g.constant([9, 4, 2], np.int32))), r"sequence_lens holds fixed lengths"),
    "negative clip": (recurrent(clip=-1.0), r"attribute clip = -1; expected a positive number"),
    "clip of NaN": (recurrent("GRU", clip=float("nan")), r"attribute clip = nan; expected a positive number"),
    "weights of NaN": (recurrent(scale=float("nan")), r"weights that are NaN"),
    "no recurrent layer": (lambda g: linear(g, g.node("Transpose", "x", perm=[0, 1, 2])), r"expected rank 2"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "reason"), CASES.values(), ids=CASES)
def test_is_refused_by_name(build: Callable[[Graph], str], reason: str) -> None:
    graph = Graph({"x": (3, 9, INPUTS)})
    (found,) = refused(graph, build(graph))
    assert re.search(reason, found), found


def test_every_reason_is_listed() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    value = sequence(graph, direction="sideways", activations=["Sigmoid", "Elu", "Gelu"])
    value = graph.node("Softplus", last(graph, value))
    value = graph.node("LayerNormalization", value, graph.random(UNITS))
    reasons = refused(graph, linear(graph, graph.node("Einsum", value, graph.random(UNITS, UNITS), equation="ab,bc->ac")))
    for expected in ("direction = sideways", "Elu", "Softplus", "LayerNormalization", "Einsum"):
        assert any(expected in reason for reason in reasons), expected
    assert len(reasons) == 4


def test_what_no_output_needs_is_not_looked_at() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    value = last(graph, sequence(graph))
    graph.node("Softplus", value)
    assert read_network(graph.model(linear(graph, value))).outputs == CLASSES


def test_a_network_without_recurrent_layer_is_refused() -> None:
    graph = Graph({"x": ("batch", INPUTS)})
    (reason,) = refused(graph, graph.node("Gemm", "x", graph.random(INPUTS, CLASSES)))
    assert "passes no recurrent layer" in reason


def test_two_results_are_refused() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    value = last(graph, sequence(graph))
    (reason,) = refused(graph, linear(graph, value), linear(graph, value))
    assert "2 outputs" in reason


def test_the_cell_state_cannot_be_read() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    c = graph.recurrent("LSTM", graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS, UNITS)[2]
    (reason,) = refused(graph, linear(graph, graph.node("Squeeze", c, graph.constant([0]))))
    assert "Y_c" in reason


@pytest.mark.parametrize("body", ["Loop", "If"])
def test_control_flow_is_refused(body: str) -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    value = last(graph, sequence(graph))
    same = helper.make_node("Identity", [value], ["same"])
    branch = helper.make_graph([same], "branch", [], [helper.make_empty_tensor_value_info("same")])
    if body == "If":
        condition = graph.node("Greater", graph.node("ReduceMax", value, keepdims=0), graph.constant(0.0))
        value = graph.node("If", condition, then_branch=branch, else_branch=branch)
        assert any("If_" in reason and "computed from the input" in reason for reason in refused(graph, value))
    else:
        step = [helper.make_tensor_value_info(n, t, []) for n, t in (("k", 7), ("go_on", 9))]
        branch = helper.make_graph(
            [helper.make_node("Identity", ["go_on"], ["further"]), helper.make_node("Identity", [value], ["same"])],
            "body", step, [helper.make_tensor_value_info("further", 9, []), helper.make_tensor_value_info("same", 1, None)],
        )  # fmt: skip
        value = graph.node("Loop", graph.constant(3), "", body=branch)
        (reason,) = refused(graph, value)
        assert "goes through no sequence step by step" in reason
        assert "a step of an LSTM, GRU or RNN" in reason


def test_operators_of_another_domain_are_named_with_it() -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    value = graph.node("Gelu", last(graph, sequence(graph)), domain="com.microsoft")
    (reason,) = refused(graph, linear(graph, value))
    assert "com.microsoft.Gelu" in reason


@pytest.mark.parametrize(("change", "message"), [
    (lambda model: model.opset_import[0].__setattr__("version", 6), "opset 6; export it again"),
    (lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"), "input x has no shape"),
    (lambda model: model.graph.input[0].type.tensor_type.__setattr__("elem_type", 7), "input x, which is no tensor of floats"),
    (lambda model: model.graph.input[0].type.tensor_type.shape.dim[2].__setattr__("dim_param", "channels"), "number of features channels"),
    (lambda model: model.graph.node[0].input.__setitem__(0, "nowhere"), "no valid ONNX model"),
    (lambda model: model.graph.node[1].ClearField("op_type"), "no valid ONNX model"),
    (lambda model: model.graph.output[0].__setattr__("name", "nothing"), "nothing"),
])  # fmt: skip
def test_a_damaged_or_incomplete_model_is_one_line(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    graph = Graph({"x": ("batch", "time", INPUTS)})
    model = graph.model(linear(graph, last(graph, sequence(graph))))
    change(model)
    with pytest.raises(EdgeLstmError, match=message) as error:
        read_network(model)
    assert "\n" not in str(error.value)


def test_mutilated_graphs_are_refused_or_read_as_onnx_runtime_runs_them() -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(0, 1, (3, 9, INPUTS)).astype(np.float32)
    outcomes = {"read": 0, "refused": 0, "not run by ONNX Runtime": 0}
    for trial in range(500):
        graph = Graph({"x": ("batch", 9, INPUTS)}, seed=trial)
        model = graph.model(graph.node("Softmax", linear(graph, last(graph, sequence(graph))), axis=-1))
        for _ in range(rng.integers(1, 3)):
            mutilate(rng, model)
        try:
            network = read_network(model)
        except EdgeLstmError:
            outcomes["refused"] += 1
            continue
        try:
            expected = runtime(model, {"x": x})[0].squeeze()
        except (Fail, InvalidArgument, InvalidGraph):
            outcomes["not run by ONNX Runtime"] += 1
            continue
        outcomes["read"] += 1
        found = network(x.transpose(1, 0, 2) if "onnx_input_axes" in network.metadata else x)
        if found.ndim == 3 and found.shape[:2] != expected.shape[:2]:  # the graph's output has the time axis first
            found = found.transpose(1, 0, 2)
        np.testing.assert_allclose(found.squeeze(), expected, rtol=0, atol=1e-5)
    assert outcomes["read"] > 20
    assert outcomes["refused"] > 200


def test_files_with_damaged_bytes_are_refused_in_one_line_or_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    graph = Graph({"x": ("batch", 9, INPUTS)})
    good = graph.model(linear(graph, last(graph, sequence(graph, "GRU")))).SerializeToString()
    messages = []
    for _ in range(250):
        content = bytearray(good)
        at, length = (int(rng.integers(1, n)) for n in (len(good), 20))
        if rng.integers(2):
            content[at] = int(rng.integers(256))
        else:
            content[at:at] = content[max(0, at - length) : at]
        (tmp_path / "m.onnx").write_bytes(content)
        try:
            onnx_io.load(tmp_path / "m.onnx")
        except EdgeLstmError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert [message for message in messages if len(message.splitlines()) != 1] == []


def test_a_name_may_hold_braces() -> None:
    graph = Graph({"x": ("batch", 9, INPUTS)})
    value = linear(graph, last(graph, sequence(graph)))
    graph.nodes[0].name = "{0}} of {}"
    assert read_network(graph.model(value)).outputs == CLASSES


def mutilate(rng: np.random.Generator, model: onnx.ModelProto) -> None:
    """Some change that a careless tool might make."""
    graph = model.graph
    node = graph.node[rng.integers(len(graph.node))]
    names = [i.name for i in graph.initializer] + [o for n in graph.node for o in n.output] + ["x", ""]
    action = rng.integers(5)
    if action == 0 and node.input:
        node.input[rng.integers(len(node.input))] = str(rng.choice(names))
    elif action == 1 and node.attribute:
        attribute = node.attribute[rng.integers(len(node.attribute))]
        if attribute.type == onnx.AttributeProto.INT:
            attribute.i = int(rng.integers(-4, 9))
        elif attribute.ints:
            attribute.ints[0] = int(rng.integers(-4, 9))
    elif action == 2 and len(node.input) > 1:
        del node.input[-1]
    elif action == 3:
        tensor = graph.initializer[rng.integers(len(graph.initializer))]
        shape = list(onnx.numpy_helper.to_array(tensor).shape)
        if shape:
            shape[rng.integers(len(shape))] = int(rng.integers(0, 5))
        dtype = np.float32 if rng.random() < 0.5 else np.int64
        tensor.CopyFrom(onnx.numpy_helper.from_array(rng.integers(-3, 9, shape).astype(dtype), tensor.name))
    else:
        del graph.node[rng.integers(len(graph.node))]
