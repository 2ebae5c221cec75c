"""Loops that an exporter has unrolled are read as the recurrent layers they were, and anything that is not quite such a loop is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph
from read_graphs import Graph, assert_reads, layers, runtime

from edge_lstm.errors import EdgeLstmError
from edge_lstm.onnx_io.read import UnsupportedModel, read_network

INPUTS, UNITS, CLASSES, STEPS = 4, 5, 3, 7
SHAPES: dict[str, tuple[int | str, int, int]] = {"static": (3, STEPS, INPUTS), "dynamic batch": ("batch", STEPS, INPUTS)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


class Loop:
    """A cell with random weights, whose steps are written into a graph operator by operator."""

    def __init__(self, graph: Graph, kind: str, inputs: int, units: int = UNITS, *, gate: str = "Sigmoid", squash: str = "Tanh") -> None:
        self.graph, self.kind, self.units, self.gate, self.squash = graph, kind, units, gate, squash
        self.gates = {"lstm": 4, "lstm, joined": 4, "gru": 3, "gru, reset before": 3, "rnn": 1}[kind]
        rows = self.gates * units
        self.W, self.R = graph.random(rows, inputs), graph.random(rows, units)
        self.b, self.c = graph.random(rows), graph.random(rows)
        self.joined = graph.random(inputs + units, rows)
        self.candidate = graph.random(units, units)
        zeros = np.zeros((1, units), np.float32)
        self.states = [graph.constant(zeros) for _ in range(2 if kind.startswith("lstm") else 1)]

    def split(self, value: str, parts: int) -> Any:
        return self.graph.node("Split", value, outputs=parts, axis=1) if parts > 1 else value

    def step(self, x: str) -> str:
        g = self.graph
        h = self.states[0]
        if self.kind == "lstm, joined":
            together = g.node("Add", g.node("MatMul", g.node("Concat", x, self.repeated(h, x), axis=1), self.joined), self.b)
        elif self.kind != "gru, reset before":
            mine, theirs = g.node("Gemm", x, self.W, self.b, transB=1), g.node("Gemm", h, self.R, self.c, transB=1)
        if self.kind == "rnn":
            self.states = [g.node(self.squash, g.node("Add", mine, theirs))]
        elif self.kind == "gru":
            (rx, zx, nx), (rh, zh, nh) = self.split(mine, 3), self.split(theirs, 3)
            r, z = g.node(self.gate, g.node("Add", rx, rh)), g.node(self.gate, g.node("Add", zx, zh))
            n = g.node(self.squash, g.node("Add", nx, g.node("Mul", r, nh)))
            self.states = [g.node("Add", n, g.node("Mul", z, g.node("Sub", h, n)))]  # PyTorch
        elif self.kind == "gru, reset before":
            rx, zx, nx = self.split(g.node("Gemm", x, self.W, self.b, transB=1), 3)
            rh, zh, _ = self.split(g.node("Gemm", h, self.R, transB=1), 3)
            r, z = g.node(self.gate, g.node("Add", rx, rh)), g.node(self.gate, g.node("Add", zx, zh))
            n = g.node(self.squash, g.node("Add", nx, g.node("MatMul", g.node("Mul", r, h), self.candidate)))
            kept, new = g.node("Mul", z, h), g.node("Mul", g.node("Sub", g.constant(1.0), z), n)
            self.states = [g.node("Add", kept, new)]  # Keras
        else:
            parts = self.split(together if self.kind == "lstm, joined" else g.node("Add", theirs, mine), 4)
            i, f, o = (g.node(self.gate, parts[k]) for k in (0, 1, 3))
            candidate = g.node(self.squash, parts[2])
            c = g.node("Add", g.node("Mul", f, self.states[1]), g.node("Mul", i, candidate))
            self.states = [g.node("Mul", o, g.node(self.squash, c)), c]
        return self.states[0]

    def repeated(self, h: str, x: str) -> str:
        """The zero state for each sequence of the batch: Concat, unlike Add, does not broadcast."""
        if h not in {i.name for i in self.graph.initializers}:
            return h
        batch = self.graph.node("Shape", x, start=0, end=1)
        return self.graph.node("Expand", h, self.graph.node("Concat", batch, self.graph.constant([self.units]), axis=0))


def linear(graph: Graph, value: str) -> str:
    return graph.node("Gemm", value, graph.random(CLASSES, UNITS), graph.random(CLASSES), transB=1)


NAMES = {"lstm": "lstm", "lstm, joined": "lstm", "gru": "gru", "gru, reset before": "gru_reset_before", "rnn": "rnn"}


@every_shape
@pytest.mark.parametrize("kind", NAMES)
def test_a_loop_over_a_cell(shape: Any, kind: str) -> None:
    graph = Graph({"x": shape})
    loop = Loop(graph, kind, INPUTS)
    for t in range(STEPS):
        h = loop.step(graph.node("Gather", "x", graph.constant(t), axis=1))
    model = graph.model(graph.node("Softmax", linear(graph, h), axis=1))
    network = assert_reads(model, steps=STEPS)
    assert layers(network) == [NAMES[kind], "last", "Dense"]
    assert network.softmax
    # The weights are the loop's own: the layer has no more than one row for each gate.
    assert network.recurrent[0].inputs == INPUTS
    assert network.recurrent[0].units == UNITS


@every_shape
@pytest.mark.parametrize(("gate", "squash", "expected"), [
    ("HardSigmoid", "Softsign", ("hard_sigmoid(0.2, 0.5)", "softsign")),
    ("HardSigmoid", "Tanh", ("hard_sigmoid(0.2, 0.5)", "tanh")),
    ("Sigmoid", "Relu", ("sigmoid", "relu")),
])  # fmt: skip
def test_activations_of_a_loop(shape: Any, gate: str, squash: str, expected: tuple[str, str]) -> None:
    graph = Graph({"x": shape})
    loop = Loop(graph, "lstm", INPUTS, gate=gate, squash=squash)
    for t in range(STEPS):
        h = loop.step(graph.node("Gather", "x", graph.constant(t), axis=1))
    found = assert_reads(graph.model(linear(graph, h)), steps=STEPS).recurrent[0].activations
    assert (str(found["f"]), str(found["g"])) == expected


def test_the_hard_sigmoid_of_keras_3() -> None:
    """relu6(x + 3) / 6, which it writes as Add, Clip and a division."""
    graph = Graph({"x": ("batch", STEPS, INPUTS)})
    loop = Loop(graph, "gru", INPUTS)
    clipped = loop.graph.node
    three, zero, six = graph.constant(3.0), graph.constant(0.0), graph.constant(6.0)

    def node(operator: str, *inputs: str, **given: Any) -> Any:
        if operator == "Sigmoid":
            return clipped("Div", clipped("Clip", clipped("Add", inputs[0], three), zero, six), six)
        return clipped(operator, *inputs, **given)

    graph.node = node  # type: ignore[method-assign]
    for t in range(STEPS):
        h = loop.step(graph.node("Gather", "x", graph.constant(t), axis=1))
    found = assert_reads(graph.model(linear(graph, h)), steps=STEPS).recurrent[0].activations
    assert str(found["z"]) == "hard_sigmoid(0.166667, 0.5)"


@every_shape
@pytest.mark.parametrize("kinds", [("lstm", "lstm"), ("lstm", "gru"), ("rnn", "lstm"), ("gru", "gru, reset before")])
def test_two_cells_in_one_loop(shape: Any, kinds: tuple[str, str]) -> None:
    graph = Graph({"x": shape})
    first, second = Loop(graph, kinds[0], INPUTS), Loop(graph, kinds[1], UNITS)
    for t in range(STEPS):
        h = second.step(first.step(graph.node("Gather", "x", graph.constant(t), axis=1)))
    hidden = graph.node("Relu", linear(graph, h))
    network = assert_reads(graph.model(graph.node("MatMul", hidden, graph.random(CLASSES, 2))), steps=STEPS)
    assert layers(network) == [NAMES[kinds[0]], NAMES[kinds[1]], "last", "Dense", "Dense"]


@every_shape
@pytest.mark.parametrize("tail", ["every", "last", "mean"])
def test_one_loop_behind_the_other(shape: Any, tail: str) -> None:
    """PyTorch unrolls nn.RNN layer by layer: a product over all steps, then the loop, then all steps joined again."""
    graph = Graph({"x": shape}, opset=20)
    value, width = graph.node("Transpose", "x", perm=[1, 0, 2]), INPUTS
    for _ in range(2):
        value = graph.node("Add", graph.node("MatMul", value, graph.random(width, UNITS)), graph.random(UNITS))
        R, steps, h = graph.random(UNITS, UNITS), [], graph.constant(np.zeros((1, UNITS)))
        for t in range(STEPS):
            cut = graph.node("Slice", value, *(graph.constant([n]) for n in (t, t + 1, 0)))
            recurrent = graph.node("MatMul", h, R)
            h = graph.node("Tanh", graph.node("Add", recurrent, graph.node("Squeeze", cut, graph.constant([0]))))
            steps.append(graph.node("Unsqueeze", h, graph.constant([0])))
        value, width = graph.node("Concat", *steps, axis=0), UNITS
    if tail == "last":
        value = graph.node("Gather", value, graph.constant(-1), axis=0)
    elif tail == "mean":
        value = graph.node("ReduceMean", value, graph.constant([0]), keepdims=0)
    else:
        value = graph.node("Transpose", value, perm=[1, 0, 2])
    network = assert_reads(graph.model(graph.node("MatMul", value, graph.random(UNITS, CLASSES))), steps=STEPS)
    assert layers(network) == ["rnn", "rnn", tail, "Dense"]


def broken(change: str) -> onnx.ModelProto:
    """A loop that is wrong in one place."""
    graph = Graph({"x": (3, STEPS, INPUTS)})
    loop = Loop(graph, "lstm", INPUTS)
    other = Loop(graph, "lstm", INPUTS)
    order = list(range(STEPS))
    if change == "order":
        order[2], order[3] = 3, 2
    elif change == "left out":
        order.remove(3)
    elif change == "backwards":
        order.reverse()
    elif change == "state":
        loop.states[0] = graph.random(1, UNITS)
    elif change == "cell state":
        loop.states[1] = graph.random(1, UNITS)
    for t in order:
        x = graph.node("Gather", "x", graph.constant(t), axis=1)
        if change == "weights" and t == 3:
            loop.W = other.W
        if change == "operator" and t == 4:
            loop.squash = "Softsign"
        if change == "first step" and t == 0:
            loop.gate = "HardSigmoid"
        h = loop.step(x)
        loop.gate = "Sigmoid"
        if change == "doubled" and t == 3:
            loop.states[1] = graph.node("Add", loop.states[1], loop.states[1])
    if change == "early":
        h = graph.node("Add", h, graph.node("Gather", "x", graph.constant(2), axis=1)) if INPUTS == UNITS else other.step(x)
    return graph.model(linear(graph, h))


@pytest.mark.parametrize(
    "change",
    ["order", "left out", "backwards", "state", "cell state", "weights", "operator", "first step", "doubled", "early"],
)
def test_a_loop_that_is_none_is_refused(change: str) -> None:
    with pytest.raises(UnsupportedModel) as error:
        read_network(broken(change))
    assert "\n" not in str(error.value)


def test_mutilated_loops_are_refused_or_read_as_onnx_runtime_runs_them() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, (3, STEPS, INPUTS)).astype(np.float32)
    read = refused = 0
    for trial in range(150):
        graph = Graph({"x": (3, STEPS, INPUTS)}, seed=trial)
        loop = Loop(graph, list(NAMES)[trial % len(NAMES)], INPUTS, UNITS)
        for t in range(STEPS):
            h = loop.step(graph.node("Gather", "x", graph.constant(t), axis=1))
        model = graph.model(linear(graph, h))
        node = model.graph.node[rng.integers(len(model.graph.node))]
        kind = rng.integers(4)
        if kind == 0 and len(node.input) > 1:
            node.input[0], node.input[1] = node.input[1], node.input[0]
        elif kind == 1:
            node.op_type = {"Add": "Sub", "Sub": "Add", "Mul": "Add", "Tanh": "Sigmoid", "Sigmoid": "Tanh"}.get(node.op_type, node.op_type)
        elif kind == 2:
            names = [o for n in model.graph.node for o in n.output]
            node.input[rng.integers(len(node.input))] = names[rng.integers(len(names))]
        else:
            tensor = model.graph.initializer[rng.integers(len(model.graph.initializer))]
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(values + rng.integers(0, 2), tensor.name))
        try:
            network = read_network(model)
        except EdgeLstmError:
            refused += 1
            continue
        try:
            (expected,) = runtime(model, {"x": x})
        except (Fail, InvalidArgument, InvalidGraph):
            continue
        read += 1
        np.testing.assert_allclose(network(x), expected, rtol=0, atol=1e-5)
    assert read > 15
    assert refused > 40
