"""Every option of the ONNX operators LSTM, GRU and RNN: against a float64 oracle, and ONNX Runtime where it has the option."""

from __future__ import annotations

import itertools
from typing import Any

import node_cases
import numpy as np
import onnx
import pytest
import read_oracle
from onnx import numpy_helper
from read_graphs import GATES, Graph, layers, runtime

from edge_lstm.float_inference import run
from edge_lstm.network import Network
from edge_lstm.onnx_io.read import UnsupportedModel, read_network

INPUTS, UNITS, BATCH, STEPS = 4, 6, 3, 9
FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def oracle(model: onnx.ModelProto, x: Any, lengths: Any = None) -> tuple[Any, Any]:
    """Y [time, directions, batch, units] and Y_h [directions, batch, units] of the model's recurrent node, for x [time, batch, inputs]."""
    node = next(n for n in model.graph.node if n.op_type in GATES)
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    tensors = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    inputs = [tensors.get(name) for name in node.input] + [None] * 8
    direction = given.get("direction", b"forward").decode()
    ways = [False, True] if direction == "bidirectional" else [direction == "reverse"]
    names = [f.decode() for f in given.get("activations", [])] or list(FUNCTIONS[node.op_type]) * len(ways)
    alphas, betas = list(given.get("activation_alpha", [])), list(given.get("activation_beta", []))
    functions = []
    for name in names:
        parametric = name in ("HardSigmoid", "Affine", "ScaledTanh")
        functions.append(
            read_oracle.function(name, alphas.pop(0) if parametric and alphas else None, betas.pop(0) if parametric and betas else None)
        )
    each = len(functions) // len(ways)
    W, R, B = inputs[1:4]
    B = np.zeros((len(ways), 2 * W.shape[1])) if B is None else B
    batch_first = bool(given.get("layout", 0))

    def state(position: int, k: int) -> Any:
        zero = np.zeros((len(ways), x.shape[1], UNITS))
        value = zero if inputs[position] is None else inputs[position].swapaxes(0, 1) if batch_first else inputs[position]
        return value[k]

    results = [
        read_oracle.run(
            node.op_type, x.astype(np.float64), W[k], R[k], B[k], functions[k * each : (k + 1) * each], h=state(5, k), c=state(6, k),
            P=None if inputs[7] is None else inputs[7][k], clip=given.get("clip"), input_forget=bool(given.get("input_forget", 0)),
            linear_before_reset=bool(given.get("linear_before_reset", 0)), lengths=lengths, reverse=way,
        )
        for k, way in enumerate(ways)
    ]  # fmt: skip
    return np.stack([y for y, _ in results], 1), np.stack([h for _, h in results])


def check(
    graph: Graph, y: str, y_h: str, *, batch_first: bool = False, lengths: list[int] | None = None, has_runtime: bool = True
) -> tuple[Network, Network]:
    """Holds the networks read from Y (every step) and from Y_h against the oracle, and that against ONNX Runtime."""
    x = np.random.default_rng(5).normal(0, 1.5, (STEPS, BATCH, INPUTS)).astype(np.float32)
    every, final = graph.model(y), graph.model(y_h)
    Y, Y_h = oracle(every, x, lengths)
    assert np.abs(Y_h).max() > 1e-2
    if has_runtime:
        feeds = {"x": x} if lengths is None else {"x": x, "lengths": np.asarray(lengths, np.int32)}
        for model, expected in ((every, Y), (final, Y_h)):
            np.testing.assert_allclose(runtime(model, feeds)[0], expected, rtol=0, atol=1e-5)
    found = []
    joined_y, joined_h = Y.transpose(2, 0, 1, 3).reshape(BATCH, STEPS, -1), Y_h.transpose(1, 0, 2).reshape(BATCH, -1)
    for model, expected in ((every, joined_y), (final, joined_h)):
        network = read_network(joined(model, batch_first))
        result = run(network, x.transpose(1, 0, 2), None if lengths is None else np.asarray(lengths))
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)
        found.append(network)
    return found[0], found[1]


def joined(model: onnx.ModelProto, batch_first: bool) -> onnx.ModelProto:
    """The model with the axis of the directions merged into the features, as exporters write it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    output, rank = copy.graph.output[0].name, 4 if copy.graph.output[0].name.endswith("_0") else 3
    if not batch_first:
        order = [0, 2, 1, 3] if rank == 4 else [1, 0, 2]
        copy.graph.node.append(onnx.helper.make_node("Transpose", [output], ["transposed"], perm=order))
        output = "transposed"
    copy.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1] if rank == 4 else [0, -1]), "joined_shape"))
    copy.graph.node.append(onnx.helper.make_node("Reshape", [output, "joined_shape"], ["joined"]))
    copy.graph.output[0].name = "joined"
    return copy


def options(operator: str) -> list[dict[str, Any]]:
    """Combinations of the options that the operator has."""
    found = []
    for bias, states, clip in itertools.product([False, True], [False, True], [None, 0.7]):
        extras: list[dict[str, Any]] = [{}]
        if operator == "LSTM":
            extras = [
                {"peepholes": p, **({"input_forget": 1} if coupled else {})} for p, coupled in itertools.product([False, True], repeat=2)
            ]
        elif operator == "GRU":
            extras = [{"linear_before_reset": after} for after in (0, 1)]
        for extra in extras:
            found.append({"bias": bias, "constant_states": states, **({} if clip is None else {"clip": clip}), **extra})
    return found


def build(
    graph: Graph, operator: str, *, constant_states: bool = False, batch_first: bool = False, directions: int = 1, **given: Any
) -> list[str]:
    """The operator with random weights; `constant_states`: it starts at random states, the same for each sequence."""
    states: list[str] = []
    if constant_states:
        for _ in range(2 if operator == "LSTM" else 1):
            row = graph.rng.uniform(-0.9, 0.9, (directions, 1, UNITS))
            value = np.repeat(row, BATCH, 1)
            states.append(graph.constant(value.swapaxes(0, 1) if batch_first else value))
    return graph.recurrent(operator, "x", INPUTS, UNITS, states=states, directions=directions, **given)


CASES = [(operator, given) for operator in GATES for given in options(operator)]


def name_of(value: Any) -> str:
    return value if isinstance(value, str) else "-".join(f"{key}={setting}" for key, setting in value.items())


@pytest.mark.parametrize(("operator", "given"), CASES, ids=name_of)
def test_options(operator: str, given: dict[str, Any]) -> None:
    graph = Graph({"x": (STEPS, BATCH, INPUTS)}, seed=len(given))
    y, y_h, *_ = build(graph, operator, **given)
    network, _ = check(graph, y, y_h)
    coupled, peepholes = given.get("input_forget", 0), given.get("peepholes", False)
    names = {"GRU": "gru" if given.get("linear_before_reset") else "gru_reset_before", "RNN": "rnn"}
    name = names.get(operator, "lstm" + "_coupled" * coupled + "_peephole" * peepholes)
    assert layers(network) == [name, "every"]


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("ragged", [False, True])
def test_directions(operator: str, direction: str, ragged: bool) -> None:
    graph = Graph({"x": (STEPS, BATCH, INPUTS)}, seed=3)
    if ragged:
        graph.inputs.append(onnx.helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [BATCH]))
    count = 2 if direction == "bidirectional" else 1
    y, y_h, *_ = build(graph, operator, directions=count, constant_states=True, direction=direction, lengths="lengths" if ragged else "")
    every, final = check(graph, y, y_h, lengths=[4, 9, 1] if ragged else None)
    assert every.recurrent[-1].reverse
    assert not every.streams
    assert final.read_out.kind == "final"
    assert len(every.recurrent) == count
    if ragged:
        assert final.metadata["onnx_lengths_input"] == "lengths"


@pytest.mark.parametrize("operator", GATES)
def test_sequences_of_different_lengths(operator: str) -> None:
    graph = Graph({"x": (STEPS, BATCH, INPUTS)}, seed=4)
    graph.inputs.append(onnx.helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [BATCH]))
    y, y_h, *_ = build(graph, operator, lengths="lengths")
    _, final = check(graph, y, y_h, lengths=[4, 9, 1])
    assert final.read_out.kind == "last"
    last = graph.node("Gather", y, graph.constant(-1), axis=0)
    with pytest.raises(UnsupportedModel, match="sequences of different lengths"):
        read_network(graph.model(last))


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_batch_first_layout(operator: str, direction: str) -> None:
    graph = Graph({"x": (BATCH, STEPS, INPUTS)}, seed=5)
    count = 2 if direction == "bidirectional" else 1
    y, y_h, *_ = build(graph, operator, directions=count, direction=direction, constant_states=True, batch_first=True, layout=1)
    check(graph, y, y_h, batch_first=True, has_runtime=False)  # ONNX Runtime refuses layout = 1


ACTIVATIONS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, ["hard_sigmoid(0.2, 0.5)", "tanh", "tanh"]),
    ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Relu"], "activation_alpha": [1 / 6], "activation_beta": [0.5]},
     ["hard_sigmoid(0.166667, 0.5)", "softsign", "relu"]),
    ("LSTM", {"activations": ["Sigmoid", "ScaledTanh", "ScaledTanh"], "activation_alpha": [2.0, 1.0], "activation_beta": [0.5, 0.5]},
     ["sigmoid", "scaled_sigmoid(4, -2)", "scaled_sigmoid(2, -1)"]),
    ("LSTM", {"activations": ["Sigmoid", "Tanh", "Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
     ["sigmoid", "tanh", "identity"]),
    ("LSTM", {"activations": ["HardSigmoid", "HardSigmoid", "Tanh"], "activation_alpha": [0.25, 0.3], "activation_beta": [0.5, 0.4]},
     ["hard_sigmoid(0.25, 0.5)", "hard_sigmoid(0.3, 0.4)", "tanh"]),
    ("GRU", {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.25]}, ["hard_sigmoid(0.25, 0.5)", "softsign"]),
    ("GRU", {"activations": ["Sigmoid", "Relu"], "linear_before_reset": 1}, ["sigmoid", "relu"]),
    ("RNN", {"activations": ["Relu"]}, ["relu"]),
    ("RNN", {"activations": ["HardSigmoid"], "activation_beta": [0.1]}, ["hard_sigmoid(0.2, 0.1)"]),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "given", "expected"), ACTIVATIONS)
def test_activations_and_their_parameters(operator: str, given: dict[str, Any], expected: list[str]) -> None:
    graph = Graph({"x": (STEPS, BATCH, INPUTS)}, seed=6)
    y, y_h, *_ = build(graph, operator, scale=0.3, **given)
    network, _ = check(graph, y, y_h)
    found = network.recurrent[0].activations
    roles = {"LSTM": ["i", "g", "h"], "GRU": ["z", "n"], "RNN": ["h"]}[operator]
    assert [str(found[role]) for role in roles] == expected


def test_activations_of_two_directions() -> None:
    graph = Graph({"x": (STEPS, BATCH, INPUTS)}, seed=7)
    names = ["HardSigmoid", "Tanh", "Tanh", "HardSigmoid", "Softsign", "Tanh"]
    y, y_h, *_ = build(graph, "LSTM", directions=2, direction="bidirectional", activations=names, activation_alpha=[0.3, 0.25])
    network, _ = check(graph, y, y_h)
    assert [str(layer.activations["f"]) for layer in network.recurrent] == ["hard_sigmoid(0.3, 0.5)", "hard_sigmoid(0.25, 0.5)"]


def test_a_graph_input_may_start_the_states() -> None:
    """The streaming form: states come in and go out. The engine keeps them; they start at zero."""
    graph = Graph({"x": ("time", 1, INPUTS), "h": (1, 1, UNITS), "states": (2, 1, 1, UNITS)}, seed=8)
    c = graph.node("Gather", "states", graph.constant(1), axis=0)
    y, y_h, y_c = graph.recurrent("LSTM", "x", INPUTS, UNITS, states=["h", c])
    together = graph.node("Concat", *(graph.node("Unsqueeze", s, graph.constant([0])) for s in (y_h, y_c)), axis=0)
    y = graph.node("Squeeze", y, graph.constant([1]))
    network = read_network(graph.model(y))
    assert network.metadata["onnx_state_inputs"] == "h, states"
    x = graph.rng.normal(0, 1, (STEPS, 1, INPUTS)).astype(np.float32)
    zero = {"h": np.zeros((1, 1, UNITS), np.float32), "states": np.zeros((2, 1, 1, UNITS), np.float32)}
    (expected,) = runtime(graph.model(y), {"x": x, **zero})
    np.testing.assert_allclose(network(x.transpose(1, 0, 2)).transpose(1, 0, 2), expected, rtol=0, atol=1e-5)
    for states in ([y_h], [y_h, y_c], [together]):
        assert layers(read_network(graph.model(y, *states))) == ["lstm", "every"]


def test_states_that_the_network_computes_are_refused() -> None:
    """An encoder hands its states to a decoder; taking them for zero would be wrong."""
    graph = Graph({"x": ("time", 1, INPUTS), "y": ("steps", 1, INPUTS), "h": (1, 1, UNITS)}, seed=9)
    _, y_h, y_c = graph.recurrent("LSTM", "x", INPUTS, UNITS)
    for states in ([y_h], ["", y_c], [graph.node("Slice", "y", *(graph.constant([n]) for n in (0, 1, 0)))], [graph.node("Add", "h", y_h)]):
        decoded = graph.recurrent("LSTM", "y", INPUTS, UNITS, states=states)[0]
        with pytest.raises(UnsupportedModel, match=r"initial state|cell state|two signals"):
            read_network(graph.model(decoded))
    shifted = graph.node("Add", "h", graph.random(UNITS))
    with pytest.raises(UnsupportedModel, match="initial state"):
        read_network(graph.model(graph.recurrent("LSTM", "x", INPUTS, UNITS, states=[shifted])[0]))


@pytest.mark.parametrize("case", node_cases.cases(), ids=lambda case: case.name)
def test_the_node_tests_of_onnx(case: Any) -> None:
    """Every output is read and goes through the integers with the same bits, but the cell state, which is refused by name."""
    for outcome in node_cases.outcomes(case):
        if outcome.output == "Y_c":
            assert "the final cell state" in outcome.reason
            continue
        assert outcome.reason == ""
        assert outcome.error <= node_cases.TOLERANCE
        assert outcome.differing == 0
        assert outcome.loss <= node_cases.LOSS
