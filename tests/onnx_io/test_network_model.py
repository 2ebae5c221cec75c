"""ONNX Runtime computes what float inference computes, for every cell, layer and read-out, from the file that is saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from network_equality import unread
from random_networks import every_member, random_input, random_network, random_recurrent

from edge_lstm import float_inference
from edge_lstm.cells import FEED_FORWARD_ONLY, Activation, activation
from edge_lstm.errors import EdgeLstmError
from edge_lstm.network import Bidirectional, Conv1d, Dense, Layer, Network, Pool, ReadOut
from edge_lstm.onnx_io import network_model

MEMBERS = every_member()
STEPPED = {"threshold", "three_level", "mixed"}  # gates that jump: in float64, so that no rounding moves a preactivation across the step
OPERATORS = {"LSTM", "GRU", "RNN"}


def relative_error(network: Network, x: np.ndarray) -> float:
    """Largest difference between ONNX Runtime and float inference, relative to the largest output (at least 1)."""
    model = network_model(network)
    assert not unread(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    entrance = session.get_inputs()[0]
    fed = x.astype(np.float32 if entrance.type == "tensor(float)" else np.float64)
    (found,) = session.run(None, {entrance.name: fed})
    expected = float_inference.run(network, x if network.preprocess is not None else fed)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def operators(network: Network) -> list[str]:
    return [node.op_type for node in network_model(network).graph.node]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", range(len(MEMBERS)), ids=["-".join(member) for member in MEMBERS])
def test_every_cell_and_gate_computes_as_float_inference(index: int, dtype: type) -> None:
    name, gates = MEMBERS[index]
    if dtype is np.float32 and gates in STEPPED:
        dtype = np.float64
        index += len(MEMBERS)  # other weights than the float64 case
    rng = np.random.default_rng(index)
    network = random_network(
        rng,
        name,
        5,
        7,
        gates,
        ("last", "mean", "every")[index % 3],
        layers=1 + index % 2,
        decimation=(1, 4)[index % 2],
        hidden=4 * (index % 2),
        initial=bool(index % 3),
        squash=("own", "any")[index // 3 % 2],
        clip=(None, 0.7)[index // 2 % 2],
        dtype=dtype,
    )
    assert relative_error(network, random_input(rng, network, 3, 11)) < (1e-5 if dtype is np.float32 else 1e-12)


STANDARD = {
    "lstm": "LSTM",
    "lstm_1999": "LSTM",
    "lstm_2000": "LSTM",
    "lstm_peephole": "LSTM",
    "lstm_coupled": "LSTM",
    "lstm_coupled_peephole": "LSTM",
    "gru": "GRU",
    "gru_reset_before": "GRU",
    "rnn": "RNN",
    "rnn_relu": "RNN",
}


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("gates", ["sigmoid", "hard_sigmoid"])
def test_a_cell_that_onnx_has_is_written_as_its_operator(name: str, clip: float | None, reverse: bool, gates: str) -> None:
    rng = np.random.default_rng(len(name))
    layer = replace(random_recurrent(rng, name, 5, 7, initial=not reverse, clip=clip, dtype=np.float32), reverse=reverse)
    gate = activation(gates, alpha=1 / 6) if gates == "hard_sigmoid" else activation(gates)
    layer = replace(layer, activations={r.name: gate if r.gate else layer.activations[r.name] for r in layer.cell.roles})
    network = Network((layer, ReadOut("every")))
    assert [o for o in operators(network) if o in OPERATORS] == [STANDARD[name]]
    assert not network_model(network).functions
    assert relative_error(network, rng.normal(0, 2, (3, 11, 5))) < 1e-5


@pytest.mark.parametrize(
    "changed",
    [{"f": "threshold", "i": "threshold", "o": "threshold"}, {"f": "hard_sigmoid"}, {"g": "hard_tanh"}],
    ids=["hard gates", "gates differ", "hard tanh"],
)
def test_what_onnx_has_no_activation_for_becomes_a_node_of_our_domain(changed: dict[str, str]) -> None:
    layer = random_recurrent(np.random.default_rng(0), "lstm", 5, 7, dtype=np.float32)
    network = Network(
        (replace(layer, activations={**layer.activations, **{r: activation(k) for r, k in changed.items()}}), ReadOut("last"))
    )
    model = network_model(network)
    assert [node.op_type for node in model.graph.node if node.domain == "edge_lstm"] == ["lstm_layer0"]
    assert {node.domain for function in model.functions for node in function.node} == {""}


@pytest.mark.parametrize("read_out", ["last", "mean", "every", "final"])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_before", "janet"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_directions_convolutions_and_pooling_compute_as_float_inference(read_out: str, name: str, dtype: type) -> None:
    rng = np.random.default_rng(len(read_out))

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape).astype(dtype)

    forward, backward = (random_recurrent(rng, name, 6, units, initial=True, dtype=dtype) for units in (7, 4))
    layers: tuple[Layer, ...] = (
        Conv1d(normal(6, 5, 3), normal(6), 2, (2, 1), 2, Activation("relu")),
        Pool("max", 2, 1, 6),
        Pool("average", 3, 2, 6),
        Dense(normal(6, 6), normal(6), Activation("tanh")),
        Bidirectional(forward, replace(backward, reverse=True)),
        ReadOut(read_out),
        Dense(normal(3, 11), normal(3)),
    )
    assert relative_error(Network(layers, softmax=True), rng.normal(0, 1, (2, 40, 5))) < (1e-5 if dtype is np.float32 else 1e-12)
    alone = Network((*layers[:4], replace(backward, reverse=True), ReadOut(read_out)))
    assert relative_error(alone, rng.normal(0, 1, (2, 40, 5))) < (1e-5 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("kind", ["sigmoid", "hard_sigmoid", "three_level", "hard_tanh", "softsign", "scaled_sigmoid", *FEED_FORWARD_ONLY])
def test_every_dense_activation_computes_as_float_inference(kind: str) -> None:
    rng = np.random.default_rng(3)
    layer = random_recurrent(rng, "rnn", 4, 6)
    network = Network((layer, ReadOut("last"), Dense(rng.normal(0, 2, (5, 6)), rng.normal(0, 1, 5), activation(kind))))
    assert relative_error(network, rng.normal(0, 1, (9, 5, 4))) < (1e-6 if kind == "gelu" else 1e-12)  # runtimes have erf in 32 bits only


def test_weights_of_two_precisions_are_computed_in_the_wider() -> None:
    rng = np.random.default_rng(4)
    layer = random_recurrent(rng, "lstm", 4, 6, dtype=np.float32)
    network = Network((layer, ReadOut("last"), Dense(rng.normal(0, 2, (5, 6)), rng.normal(0, 1, 5))))
    assert relative_error(network, rng.normal(0, 1, (3, 5, 4)).astype(np.float32)) < 1e-5


def test_samples_left_over_by_the_decimation_are_dropped() -> None:
    rng = np.random.default_rng(5)
    network = random_network(rng, "lstm", decimation=4, read_out="every", dtype=np.float32)
    x = random_input(rng, network, 2, 9)
    assert relative_error(network, x[:, :-3]) < 1e-5


@pytest.mark.parametrize("name", ["lstm", "janet"])
def test_the_model_is_valid_onnx(name: str) -> None:
    network = random_network(np.random.default_rng(6), name, layers=2, hidden=4, decimation=3, initial=True, dtype=np.float32)
    onnx.checker.check_model(network_model(network), full_check=True)


def test_a_cell_outside_the_family_is_refused() -> None:
    network = random_network(np.random.default_rng(7), "janet")
    layer = network.recurrent[0]
    strange = replace(network, layers=(replace(layer, cell=replace(layer.cell, name="mine")), *network.layers[1:]))
    with pytest.raises(EdgeLstmError, match="'mine' is not in the family"):
        network_model(strange)


def test_weights_of_another_type_are_refused() -> None:
    network = random_network(np.random.default_rng(8), "lstm", dtype=np.float16)
    with pytest.raises(EdgeLstmError, match="float16"):
        network_model(network)
