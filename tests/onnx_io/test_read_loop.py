"""The operator Loop, as tf2onnx writes recurrent layers that it does not know: read as the layer it is, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, RuntimeException
from read_graphs import Graph, assert_reads, layers, runtime

from edge_lstm.errors import EdgeLstmError
from edge_lstm.onnx_io.read import UnsupportedModel, read_network

INPUTS, UNITS, CLASSES, STEPS = 4, 5, 3, 9
GATES = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "rnn": 1}
Change = Callable[[str, onnx.NodeProto], None]


class Keras:
    """A Keras layer as tf2onnx writes it: time first, a Loop over Gather, weights carried through, the outputs gathered."""

    def __init__(self, cell: str, steps: int | str = STEPS, *, hard: bool = False, start: bool = False, dynamic: bool = False) -> None:
        self.cell, self.hard = cell, hard
        self.graph = Graph({"x": ("batch", steps, INPUTS)})
        self.body = Graph({}, seed=1)
        g = self.graph
        self.x = g.node("Transpose", "x", perm=[1, 0, 2])
        length = g.node("Shape", self.x, start=0, end=1) if dynamic else g.constant([STEPS])
        self.length = g.node("Squeeze", length, g.constant([0]))
        batch = g.node("Shape", "x", start=0, end=1)
        size = g.node("Concat", batch, g.constant([UNITS]), axis=0)
        value = g.random(UNITS) if start else g.constant(0.0)
        self.states = [g.node("Expand", value, size) for _ in range(2 if cell == "lstm" else 1)]
        rows = GATES[cell] * UNITS
        self.weights = [g.random(INPUTS, rows), g.random(UNITS, rows), g.random(rows)]
        self.names = ["i", "cond", "time", *(f"state{k}" for k in range(len(self.states))), "W", "R", "b"]

    def sigmoid(self, value: str) -> str:
        b = self.body
        if not self.hard:
            return b.node("Sigmoid", value)
        clipped = b.node("Clip", b.node("Add", value, b.constant(3.0)), b.constant(0.0), b.constant(6.0))
        return b.node("Mul", clipped, b.constant(np.float32(1) / np.float32(6)))  # as tf2onnx folds the division

    def split(self, value: str, parts: int) -> Any:
        return self.body.node("Split", value, self.body.constant([UNITS] * parts), outputs=parts, axis=-1)

    def step(self, x: str) -> list[str]:
        """The states after the step, the output first."""
        b = self.body
        mine = b.node("MatMul", x, "W")
        if self.cell == "gru_reset_before":
            mine = b.node("Add", mine, "b")
            z, r, n = self.split(mine, 3)
            first = b.node("Slice", "R", *(b.constant([k]) for k in (0, 2 * UNITS, 1)))
            last = b.node("Slice", "R", *(b.constant([k]) for k in (2 * UNITS, 3 * UNITS, 1)))
            rz, rr = self.split(b.node("MatMul", "state0", first), 2)
            r, z = self.sigmoid(b.node("Add", r, rr)), self.sigmoid(b.node("Add", z, rz))
            n = b.node("Tanh", b.node("Add", n, b.node("MatMul", b.node("Mul", r, "state0"), last)))
        elif self.cell == "gru":
            z, r, n = self.split(b.node("Add", mine, "b"), 3)
            rz, rr, rn = self.split(b.node("MatMul", "state0", "R"), 3)
            r, z = self.sigmoid(b.node("Add", r, rr)), self.sigmoid(b.node("Add", z, rz))
            n = b.node("Tanh", b.node("Add", n, b.node("Mul", r, rn)))
        else:
            total = b.node("Add", b.node("Add", mine, b.node("MatMul", "state0", "R")), "b")
            if self.cell == "rnn":
                return [b.node("Tanh", total)]
            i, f, g, o = self.split(total, 4)
            i, f, o = self.sigmoid(i), self.sigmoid(f), self.sigmoid(o)
            c = b.node("Add", b.node("Mul", f, "state1"), b.node("Mul", i, b.node("Tanh", g)))
            return [b.node("Mul", o, b.node("Tanh", c)), c]
        kept, new = b.node("Mul", z, "state0"), b.node("Mul", b.node("Sub", b.constant(1.0), z), n)
        return [b.node("Add", kept, new)]

    def loop(self, *, counted: bool = False) -> list[str]:
        """The Loop node; its outputs. counted: it has a trip count beside the condition."""
        b = self.body
        after = self.step(b.node("Gather", self.x, "time", axis=0))
        following = b.node("Add", "time", b.constant(1))
        going = b.node("Less", following, self.length)
        if counted:
            going = b.node("And", b.node("Less", "i", self.length), going)
        carried = [following, *(b.node("Identity", value) for value in after), "W", "R", "b"]
        results = [going, *carried, b.node("Identity", after[0])]
        kinds = [TensorProto.INT64, TensorProto.BOOL, TensorProto.INT64, *[TensorProto.FLOAT] * (len(self.names) - 3)]
        shapes = [[] if kind != TensorProto.FLOAT else None for kind in kinds]
        inputs = [helper.make_tensor_value_info(*given) for given in zip(self.names, kinds, shapes, strict=True)]
        outputs = [helper.make_empty_tensor_value_info(name) for name in results]
        for tensor in b.initializers:
            tensor.name = f"inside_{tensor.name}"
        for node in b.nodes:
            node.input[:] = [f"inside_{n}" if n.startswith("constant_") else n for n in node.input]
            node.input[:] = [n if n in {*self.names, self.x, self.length} or n.startswith("inside_") else f"inside_{n}" for n in node.input]
            node.output[:] = [f"inside_{n}" for n in node.output]
        for output in outputs:
            output.name = output.name if output.name in self.names else f"inside_{output.name}"
        body = helper.make_graph(b.nodes, "body", inputs, outputs, b.initializers)
        g = self.graph
        first = g.node("Less", g.constant(0), self.length)
        return g.node(
            "Loop", self.length if counted else "", first, g.constant(0), *self.states, *self.weights, outputs=len(carried) + 1, body=body
        )

    def last_step(self, value: str) -> str:
        g = self.graph
        last = g.node("Squeeze", g.node("Slice", value, *(g.constant([n]) for n in (-1, 2**31 - 1, 0))), g.constant([0]))
        return g.node("MatMul", last, g.random(UNITS, CLASSES))


@pytest.mark.parametrize("start", [False, True], ids=["zero", "start"])
@pytest.mark.parametrize("hard", [False, True], ids=["sigmoid", "relu6"])
@pytest.mark.parametrize("cell", GATES)
def test_a_loop_is_the_layer_that_its_body_is_a_step_of(cell: str, hard: bool, start: bool) -> None:
    keras = Keras(cell, hard=hard, start=start)
    *_, every = keras.loop(counted=start)
    network = assert_reads(keras.graph.model(keras.last_step(every)))
    assert layers(network) == [cell, "last", "Dense"]
    assert bool(network.recurrent[0].initial) == start
    if hard and cell != "rnn":
        assert str(network.recurrent[0].activations["f" if cell == "lstm" else "z"]) == "hard_sigmoid(0.166667, 0.5)"


@pytest.mark.parametrize("cell", GATES)
def test_a_loop_over_a_time_axis_of_unknown_length(cell: str) -> None:
    keras = Keras(cell, "time", dynamic=True)
    *_, every = keras.loop()
    network = assert_reads(keras.graph.model(keras.last_step(every)), steps=STEPS + 4)
    assert network.window == 0


def test_the_carried_state_and_every_step_of_a_loop() -> None:
    keras = Keras("lstm")
    _, h, _, *_, every = keras.loop()
    assert layers(assert_reads(keras.graph.model(keras.graph.node("MatMul", h, keras.graph.random(UNITS, 2))))) == ["lstm", "last", "Dense"]
    assert layers(assert_reads(keras.graph.model(keras.graph.node("Transpose", every, perm=[1, 0, 2])))) == ["lstm", "every"]


def test_a_layer_in_front_of_a_loop_and_a_layer_behind() -> None:
    keras = Keras("gru")
    g = keras.graph
    keras.x = g.recurrent("LSTM", keras.x, INPUTS, INPUTS)[0]
    keras.x = g.node("Squeeze", keras.x, g.constant([1]))
    *_, every = keras.loop()
    _, y_h = g.recurrent("GRU", every, UNITS, UNITS, linear_before_reset=1)
    assert layers(assert_reads(g.model(g.node("MatMul", g.node("Squeeze", y_h, g.constant([0])), g.random(UNITS, 2))))) == [
        "lstm", "gru", "gru", "last", "Dense",
    ]  # fmt: skip


def body_of(model: onnx.ModelProto) -> onnx.GraphProto:
    loop = next(node for node in model.graph.node if node.op_type == "Loop")
    return next(attribute.g for attribute in loop.attribute if attribute.name == "body")


def broken(change: str) -> onnx.ModelProto:
    keras = Keras("lstm", STEPS + 2 if change == "too short" else STEPS)
    if change == "other state":
        keras.states.reverse()
        keras.states[0] = keras.graph.random(3, UNITS)
    outputs = keras.loop()
    model = keras.graph.model(keras.graph.node("Identity", outputs[2]) if change == "cell state" else keras.last_step(outputs[-1]))
    body = body_of(model)
    nodes = {node.op_type: node for node in body.node}
    if change == "steps of two":
        tensor = next(t for t in body.initializer if t.name == (next(n for n in body.node if n.input[0] == "time").input[1]))
        tensor.CopyFrom(numpy_helper.from_array(np.array(2), tensor.name))
    elif change == "gate":
        nodes["Sigmoid"].op_type = "Exp"
    elif change == "wrong product":
        nodes["Mul"].op_type = "Add"
    elif change == "same step":
        first = helper.make_node("Sub", ["time", "time"], ["zero"])
        next(n for n in body.node if n.op_type == "Gather").input[1] = "zero"
        body.node.insert(0, first)
    elif change == "weights change":
        body.output[5].name = "inside_weights"
        body.node.append(helper.make_node("Add", ["R", "R"], ["inside_weights"]))
    return model


@pytest.mark.parametrize(
    ("change", "reason"),
    [("too short", "exactly once for each"), ("steps of two", "otherwise than one up"), ("gate", "operator Exp is not supported"),
     ("wrong product", "known|other than"), ("same step", "number of a loop's step"), ("other state", "differ between"),
     ("cell state", "Identity|state|cell|LSTM"), ("weights change", "carr|starts")],
)  # fmt: skip
def test_a_loop_that_is_no_layer_is_refused(change: str, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        read_network(broken(change))


def test_mutilated_bodies_are_refused_or_read_as_onnx_runtime_runs_them() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, (3, STEPS, INPUTS)).astype(np.float32)
    read = refused = 0
    for trial in range(120):
        keras = Keras(list(GATES)[trial % len(GATES)], hard=bool(trial % 2))
        model = keras.graph.model(keras.last_step(keras.loop()[-1]))
        body = body_of(model)
        node = body.node[rng.integers(len(body.node))]
        kind = rng.integers(4)
        if kind == 0 and len(node.input) > 1:
            node.input[0], node.input[1] = node.input[1], node.input[0]
        elif kind == 1:
            node.op_type = {"Add": "Sub", "Sub": "Add", "Mul": "Add", "Tanh": "Sigmoid", "Sigmoid": "Tanh"}.get(node.op_type, node.op_type)
        elif kind == 2:
            names = [n for other in body.node for n in other.output]
            node.input[rng.integers(len(node.input))] = names[rng.integers(len(names))]
        else:
            tensor = body.initializer[rng.integers(len(body.initializer))]
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(values + rng.integers(0, 2), values.dtype), tensor.name))
        try:
            network = read_network(model)
        except EdgeLstmError:
            refused += 1
            continue
        try:
            (expected,) = runtime(model, {"x": x})
        except (Fail, InvalidArgument, InvalidGraph, RuntimeException):
            continue
        read += 1
        np.testing.assert_allclose(network(x), expected, rtol=0, atol=1e-5)
    assert read > 15
    assert refused > 30
