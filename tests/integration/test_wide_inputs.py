"""Inputs of 16 bits: two halves of 8 in every engine, the same bits in all of them, and what they are for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_features import broad_counts, random_preprocess
from random_networks import every_member, random_counts, random_deep, random_input, random_integer, random_network, random_recurrent

import edge_lstm
import firmware_gen.host
from edge_lstm import engine, onnx_io
from edge_lstm.cells import activation
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError, UsageError
from edge_lstm.fixed_point.bounds import intervals
from edge_lstm.fixed_point.integer_network import WIDE_LIMIT, IntegerNetwork, IntegerRecurrent
from edge_lstm.fixed_point.operators import join, split
from edge_lstm.fixed_point.quantize import Options, quantize
from edge_lstm.jobs.conversion import convert
from edge_lstm.network import Bidirectional, Dense, Network, Pool, ReadOut, RowWeights
from edge_lstm.onnx_io.integer_session import IntegerSession, StreamSession

WIDE = Options(input_bits=16)


def networks() -> dict[str, IntegerNetwork]:
    """Every kind of first layer, and features and decimation in front."""
    rng = np.random.default_rng(1)
    head = Dense(rng.normal(0, 0.5, (3, 7)), rng.normal(0, 0.1, 3))
    behind = (random_recurrent(rng, "rnn", 7, 7), ReadOut("mean"), head)
    first = Dense(rng.normal(0, 0.3, (7, 5)), rng.normal(0, 0.1, 7), activation("tanh"))
    forward, backward = (random_recurrent(rng, "rnn", 5, units) for units in (3, 4))
    both = (Bidirectional(forward, replace(backward, reverse=True)), ReadOut("final"), head)
    made = {name: Network(layers, window=15) for name, layers in {"dense": (first, *behind), "both directions": both}.items()}
    made["convolution"] = random_deep(rng, "rnn")
    made["decimation"] = random_network(rng, "rnn", 9, 6, decimation=3, layers=2)
    made["thresholds"] = random_network(rng, "lstm_peephole", 3, 17, "threshold", "every")
    found = {name: quantize(network, random_input(rng, network, 6, 24), WIDE) for name, network in made.items()}
    front, counts = random_preprocess(rng)
    found["features"] = quantize(replace(random_network(rng, "rnn", len(front.offset), 6), preprocess=front), counts, WIDE)
    return found


NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
def test_all_engines_give_the_same_bits(name: str, tmp_path: Path) -> None:
    network, rng = NETWORKS[name], np.random.default_rng(2)
    host = firmware_gen.host.HostModel(network) if network.streams else None
    session, with_lengths = IntegerSession(network, states=True), IntegerSession(network, lengths=True)
    onnx_io.save_integer(network, tmp_path / "model.int.onnx")
    read = onnx_io.load(tmp_path / "model.int.onnx")
    assert isinstance(read, IntegerNetwork)
    for extremes in (False, True):
        front = network.normalize
        if front.features is None:
            raw = random_counts(rng, network, 5, 14, extremes=extremes)
        else:
            raw = broad_counts(rng, 5, 14 * front.decimation, front.inputs, extremes=extremes)
        expected, lengths = reference.run(network, raw, states=True), [raw.shape[1] * k // 16 for k in (16, 9, 16, 12, 7)]
        x = join(reference.normalize(front, raw))
        assert np.abs(x).max() > 1000, "both halves are used"
        found = {"ONNX Runtime": session.run(raw), "Numba": engine.run(network, raw, states=True)}
        found["read"] = reference.run(read, raw, states=True)
        if host is not None:
            found["C"] = host.run(raw, states=True)
        for what, one in found.items():
            np.testing.assert_array_equal(one.scores, expected.scores, err_msg=what)
            for mine, theirs in zip(one.states, expected.states, strict=True):
                assert [state for state in theirs if not np.array_equal(mine[state], theirs[state])] == [], what
        ragged = reference.run(network, raw, lengths)
        np.testing.assert_array_equal(engine.run(network, raw, lengths).scores, ragged.scores)
        every, in_onnx = network.read_out.kind == "every", with_lengths.run(raw, lengths).scores
        np.testing.assert_array_equal(in_onnx[:, : ragged.scores.shape[1]] if every else in_onnx, ragged.scores)
        if network.streams:
            one = engine.Stream(network)
            for sample in raw[0]:
                one.push(sample)
            last = expected.scores[:, -1] if every else expected.scores
            np.testing.assert_array_equal(one.scores, last[0])
            streamed = StreamSession(network)
            for part in np.split(raw, [3, raw.shape[1] - 4], 1):
                streamed.push(part)
            np.testing.assert_array_equal(streamed.scores[:, -1] if every else streamed.scores, last)


def test_normalized_halves_may_be_given() -> None:
    network, rng = NETWORKS["decimation"], np.random.default_rng(3)
    x = split(rng.integers(-WIDE_LIMIT, WIDE_LIMIT + 1, (3, 11, 9))).astype(np.int8)
    expected = reference.run_normalized(network, x).scores
    np.testing.assert_array_equal(engine.run_normalized(network, x).scores, expected)
    streams = engine.Streams(network, 3)
    for t in range(11):
        streams.step(x[:, t])
    np.testing.assert_array_equal(streams.scores(), expected)
    with pytest.raises(EdgeLstmError, match=r"\[3, 18\]"):
        streams.step(x[:, 0, :9])


def test_halves_are_bytes_and_give_the_input_back() -> None:
    x = np.arange(-WIDE_LIMIT, WIDE_LIMIT + 1)[:, None]
    halves = split(x)
    np.testing.assert_array_equal(join(halves), x)
    assert (np.abs(halves).max(0) == [127, 64]).all()


def test_an_input_that_spans_powers_of_ten_is_resolved() -> None:
    rng = np.random.default_rng(4)
    errors = {}
    layer = random_recurrent(rng, "lstm", 6, 16)
    rows = {name: RowWeights(20 * np.asarray(row.W), row.R, row.b) for name, row in layer.rows.items()}
    head = Dense(rng.normal(0, 0.5, (3, 16)), np.zeros(3))
    network = Network((replace(layer, rows=rows), ReadOut("every"), head))
    x = rng.normal(0, 1, (8, 20, 6)) * np.where(np.arange(8) < 2, 10, 0.03)[:, None, None]  # two loud recordings, six quiet ones
    expected = network(x)
    for bits in (8, 16):
        integer = edge_lstm.quantize(network, x, separate_rows=True, input_bits=bits)
        errors[bits] = float(np.sqrt(np.mean((integer(x) - expected)[2:] ** 2)))
    assert errors[16] < 0.1 * errors[8]


@pytest.mark.parametrize(("name", "gates"), [pair for pair in every_member() if pair[1] in ("threshold", "three_level")])
def test_threshold_gates_see_the_sign_of_the_exact_sum(name: str, gates: str) -> None:
    """Nothing but rows, whole multiples and sums (and the products of peepholes) stands before a threshold."""
    layer = random_integer(np.random.default_rng(5), name, 5, 7, gates, input_bits=16).recurrent[0]
    assert all(row.W is None or not row.R for row in layer.rows.values())
    waiting = [op.args[0] for op in layer.ops if op.code == "positive"]
    assert waiting
    while waiting:
        op = layer.ops[waiting.pop()]
        assert op.code in ("row", "raise", "add", "subtract", "multiply", "vector")
        waiting += op.args if op.code in ("raise", "add", "subtract") else []


def test_bounds_hold_for_any_halves() -> None:
    rng = np.random.default_rng(6)
    layer = NETWORKS["thresholds"].layers[0]
    assert isinstance(layer, IntegerRecurrent)
    bounds = intervals(layer)
    state = reference.initial_state(layer, 500)
    x = rng.choice(np.array([-127, 127]), (500, 6))
    for k, row in enumerate(op for op in layer.ops if op.code == "row" and layer.rows[op.name].W is not None):
        x[2 * k : 2 * k + 2] = np.tile(np.sign(np.asarray(layer.rows[row.name].W)[k] + 0.5) * 127, 2) * np.array([[1], [-1]])
    _, _, values = reference.step(layer, x, state)
    for value, ((low, high), _) in zip(values, bounds, strict=True):
        assert (value >= low).all()
        assert (value <= high).all()


def test_what_16_bits_do_not_go_with_is_refused() -> None:
    rng = np.random.default_rng(7)
    network = random_network(rng, "rnn", 3, 4)
    x = random_input(rng, network)
    with pytest.raises(UsageError, match="inputs of 12 bits: choose 8 or 16"):
        edge_lstm.quantize(network, x, input_bits=12)
    with pytest.raises(UsageError, match="leave out --input-bits 16"):
        convert(network, finetune=True, input_bits=16)
    with pytest.raises(UsageError, match="leave out --cell-bits 32"):
        convert(network, finetune=True, cell_bits=32)
    with pytest.raises(UsageError, match="cell states of 24 bits: choose 16 or 32"):
        edge_lstm.quantize(network, x, cell_bits=24)
    pooled = network.with_layers((Pool("max", 2, 1, 3), *network.layers))
    with pytest.raises(EdgeLstmError, match="pooling as the first layer takes inputs of 8 bits"):
        quantize(pooled, x, WIDE)
