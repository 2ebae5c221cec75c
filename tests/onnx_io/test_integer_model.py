"""ONNX Runtime gives the bits of the integer reference on every score, label and state of every step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from network_equality import unread
from onnx import TensorProto, helper
from random_networks import GATES, every_member, random_counts, random_deep, random_input, random_integer, random_network

from edge_lstm.engine import reference
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerRecurrent
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.onnx_io import integer_model
from edge_lstm.onnx_io.body import Body
from edge_lstm.onnx_io.integer_operators import shift_right
from edge_lstm.onnx_io.integer_session import IntegerSession

READ_OUTS = ("last", "mean", "every")
MEMBERS = every_member()


def assert_same_bits(network: IntegerNetwork, *inputs: np.ndarray) -> None:
    assert not unread(integer_model(network))
    session = IntegerSession(network, states=True)
    for raw in inputs:
        expected, found = reference.run(network, raw, states=True), session.run(raw)
        assert found.scores.dtype == np.int32
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.label, expected.scores.argmax(-1))  # NumPy's argmax is the first of equals, too
        for layer, (states, wanted) in enumerate(zip(found.states, expected.states, strict=True)):
            assert set(states) == set(wanted)
            for name in wanted:
                np.testing.assert_array_equal(states[name], wanted[name], err_msg=f"layer {layer}, state {name}")


@pytest.mark.parametrize("index", range(len(MEMBERS)), ids=["-".join(member) for member in MEMBERS])
def test_every_cell_and_gate_gives_the_bits_of_the_reference(index: int) -> None:
    name, gates = MEMBERS[index]
    rng = np.random.default_rng(index)
    network = random_integer(
        rng,
        name,
        5,
        7,
        gates,
        READ_OUTS[index % 3],
        layers=1 + index % 2,
        decimation=(1, 4, 1)[index % 3],
        hidden=4 * (index % 2),
        initial=bool(index % 3),
        squash=("own", "any")[index // 3 % 2],
        clip=(None, 1.5)[index // 2 % 2],
        cell_bits=(16, 32)[index % 5 == 0],
    )
    assert_same_bits(network, random_counts(rng, network, 3, 9), random_counts(rng, network, 2, 7, extremes=True))


@pytest.mark.parametrize("read_out", READ_OUTS)
@pytest.mark.parametrize("gates", ["threshold", "sigmoid"])
@pytest.mark.parametrize("layers", [1, 3])
def test_read_outs_and_stacks_give_the_bits_of_the_reference(read_out: str, gates: str, layers: int) -> None:
    rng = np.random.default_rng(layers)
    network = random_integer(rng, "lstm", 6, 16, gates, read_out, layers=layers, decimation=3, steps=25)
    assert_same_bits(network, random_counts(rng, network, 5, 25), random_counts(rng, network, 5, 25, extremes=True))


@pytest.mark.parametrize("gates", ["threshold", "sigmoid"])
@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_1997_gate_recurrence", "fastgrnn"])
def test_the_largest_weights_and_counts_give_the_bits_of_the_reference(name: str, gates: str) -> None:
    rng = np.random.default_rng(10)
    network = random_integer(rng, name, 40, 24, gates, "every")
    layer = network.recurrent[0]

    def largest(weights: np.ndarray) -> np.ndarray:
        return np.where(weights < 0, -127, 127).astype(np.int8)

    rows = {
        key: replace(row, W=None if row.W is None else largest(row.W), R=tuple(largest(R) for R in row.R))
        for key, row in layer.rows.items()
    }
    extreme = replace(network, layers=(replace(layer, rows=rows), *network.layers[1:]))
    prove_network(extreme)
    ends = rng.choice(np.array([-32768, 32767], np.int16), (3, 20, 40))
    assert_same_bits(extreme, ends, np.full_like(ends, 32767), np.full_like(ends, -32768))


@pytest.mark.parametrize("read_out", [*READ_OUTS, "final"])
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_convolution_pooling_and_both_directions_give_the_bits_of_the_reference(read_out: str, streams: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_deep(rng, ("lstm", "gru_reset_before", "janet", "lstm_1997")[seed], GATES[seed], read_out, streams=streams)
    integer = quantize(network, random_input(rng, network, 6))
    assert_same_bits(integer, random_counts(rng, integer, 3, 23), random_counts(rng, integer, 2, 17, extremes=True))


def test_a_reversed_layer_alone_gives_the_bits_of_the_reference() -> None:
    rng = np.random.default_rng(9)
    for read_out in (*READ_OUTS, "final"):
        network = random_network(rng, "lstm", 5, 7, "mixed", read_out)
        network = replace(network, layers=(replace(network.recurrent[0], reverse=True), *network.layers[1:]))
        integer = quantize(network, random_input(rng, network, 6))
        assert_same_bits(integer, random_counts(rng, integer, 3, 12))


def test_one_session_takes_any_batch_and_any_number_of_steps() -> None:
    rng = np.random.default_rng(1)
    network = random_integer(rng, "gru_reset_before", 4, 9, "mixed", "every", decimation=2)
    assert_same_bits(network, *(random_counts(rng, network, batch, steps) for batch, steps in ((1, 1), (1, 30), (17, 3))))


def test_samples_left_over_by_the_decimation_are_dropped() -> None:
    rng = np.random.default_rng(2)
    network = random_integer(rng, "lstm", 4, 6, "sigmoid", "every", decimation=5)
    raw = random_counts(rng, network, 2, 6)
    session = IntegerSession(network)
    np.testing.assert_array_equal(session.run(raw[:, :29]).scores, session.run(raw[:, :25]).scores)
    assert session.run(raw[:, :29]).scores.shape[1] == 5


def test_a_mean_leaves_out_the_steps_behind_its_window() -> None:
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 4, 6, "threshold", "mean", steps=8)
    raw = random_counts(rng, network, 3, 20)
    np.testing.assert_array_equal(IntegerSession(network).run(raw).scores, reference.run(network, raw[:, :8]).scores)


def test_a_tie_is_won_by_the_first_class() -> None:
    rng = np.random.default_rng(4)
    network = random_integer(rng, "lstm", 4, 6, "threshold", "last", outputs=4)
    dense = network.layers[-1]
    tied = replace(
        network, layers=(*network.layers[:-1], replace(dense, W=dense.W[[0, 1, 1, 1]], bias=np.array([-(10**6), 5, 5, 5], np.int32)))
    )
    assert set(IntegerSession(tied).run(random_counts(rng, tied, 20, 5)).label) == {1}


def test_a_table_too_steep_for_the_short_form_gives_the_bits_of_the_reference() -> None:
    rng = np.random.default_rng(5)
    network = random_integer(rng, "rnn", 5, 8, "sigmoid", "every", squash="softsign")
    layer = network.recurrent[0]
    knots = rng.integers(-32512, 32513, 257).astype(np.int16)  # 257 knots jump by up to 2 ** 16: slope * u needs more than 32 bits
    steep = replace(network, layers=(replace(layer, tables=dict.fromkeys(layer.tables, knots)), *network.layers[1:]))
    prove_network(steep)
    assert_same_bits(steep, random_counts(rng, steep, 3, 20))


@pytest.mark.parametrize("shift", [0, 1, 7, 20, 30])
def test_shift_is_exact_over_all_32_bits(shift: int) -> None:
    rng = np.random.default_rng(shift)
    half = (1 << shift) // 2
    for low, top in ((-(2**31), 2**31 - 1), (-(2**31), -1 - 2**30), (-5, 2**31 - 1), (-(2**30), 2**30)):
        high = top - half
        values = np.concatenate([rng.integers(low, high + 1, 1000), [low, high, max(low, -1), min(high, 0)]]).clip(low, high)
        body = Body()
        body.rename(shift_right(body, "v", shift, low, top), "y")
        graph = helper.make_graph(
            body.finished_nodes(),
            "shift",
            [helper.make_tensor_value_info("v", TensorProto.INT32, ["n"])],
            [helper.make_empty_tensor_value_info("y")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"v": values.astype(np.int32)})[0], (values + half) >> shift)


def test_the_model_is_valid_onnx_with_one_node_per_layer_over_standard_operators() -> None:
    network = random_integer(np.random.default_rng(6), "lstm_peephole", 5, 7, "mixed", "last", layers=2, hidden=4, decimation=2)
    for states in (False, True):
        model = integer_model(network, states=states)
        onnx.checker.check_model(model, full_check=True)
    layers = [node.op_type for node in model.graph.node if node.domain == "edge_lstm"]
    assert layers == ["Normalize", "IntegerLstmPeephole_0", "IntegerLstmPeephole_1", "LastStep", "IntegerDense_3", "IntegerDense_4"]
    assert {node.op_type for node in model.graph.node if node.domain == ""} == {"Cast", "ArgMax"}
    assert {node.domain for function in model.functions for node in function.node} == {""}
    assert [o.name for o in model.graph.output][:2] == ["scores", "label"]


def test_the_same_network_gives_the_same_bytes() -> None:
    first, second = (integer_model(random_integer(np.random.default_rng(7), "gru", 5, 7, "mixed", "mean")) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_a_recurrent_layer_behind_the_read_out_is_refused() -> None:
    network = random_integer(np.random.default_rng(8), "lstm", 5, 5)
    assert isinstance(network.layers[0], IntegerRecurrent)
    with pytest.raises(Exception, match="before the read-out"):
        integer_model(replace(network, layers=(network.layers[1], network.layers[0])))
