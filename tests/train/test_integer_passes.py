"""The integer network inside training is the integer network: every score in every bit, for every cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network

from edge_lstm.cells import activation, family
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import Options, Ranges, calibrate, quantize_with_ranges
from edge_lstm.network import Dense, Network
from edge_lstm.train.integer_passes import IntegerPasses
from edge_lstm.train.parameters import network_vector, with_network_vector, with_vector
from edge_lstm.train.passes import Passes

BATCH, STEPS, INPUTS, UNITS = 7, 11, 5, 6


def in_training(network: Network, ranges: Ranges, raw: np.ndarray, options: Options) -> tuple[np.ndarray, IntegerPasses, np.ndarray]:
    """Scores [batch, (time,) outputs] of the training kernels, the passes, and the numbers that the integers represent."""
    integers = IntegerPasses(Passes(network, STEPS, len(raw)), network, ranges, options)
    represented = integers.refresh(network_vector(network))
    x8 = np.ascontiguousarray(reference.normalize(integers.normalize, raw).transpose(1, 2, 0))
    x = (x8 * integers.input_scale[:, None]).astype(np.float32)
    scores = integers.integer_scores(x8, x, np.full(len(raw), STEPS))
    if network.read_out.kind == "every":
        return scores.reshape(-1, STEPS, len(raw)).transpose(2, 1, 0), integers, represented
    return scores.T, integers, represented


def check(network: Network, rng: np.random.Generator, options: Options | None = None, extremes: bool = False) -> IntegerPasses:
    network = with_network_vector(network, network_vector(network))  # float32, as training has it
    options = options or Options()
    ranges = calibrate(network, random_input(rng, network, 8, STEPS))
    integer = quantize_with_ranges(network, ranges, options)
    raw = random_counts(rng, integer, BATCH, STEPS, extremes=extremes)
    expected = reference.run(integer, raw, states=True)
    scores, integers, _ = in_training(network, ranges, raw, options)
    np.testing.assert_array_equal(scores, expected.scores)
    for memory, formats, states in zip(integers.passes.memory, integers.formats, expected.states, strict=True):
        for k, name in enumerate(memory.layer.cell.states):
            kept = memory.states[k, 1:].reshape(STEPS, UNITS, BATCH).transpose(2, 0, 1)
            np.testing.assert_array_equal(kept, (states[name] * np.float32(formats[name].scale)).astype(np.float32))
    return integers


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("cell", sorted(family()))
@pytest.mark.parametrize("gates", ["threshold", "sigmoid", "mixed"])
def test_scores_and_states_in_training_are_those_of_the_reference_engine(cell: str, gates: str) -> None:
    rng = np.random.default_rng(len(cell))
    check(random_network(rng, cell, INPUTS, UNITS, gates, "mean", steps=STEPS, decimation=2, squash="any"), rng)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", "threshold"), ("gru_reset_before", "mixed"), ("lstm_peephole", "sigmoid")])
def test_compiled_kernels_have_the_reference_bits(cell: str, gates: str) -> None:
    rng = np.random.default_rng(17)
    network = random_network(rng, cell, INPUTS, UNITS, gates, "mean", steps=STEPS, decimation=2)
    check(network, rng)
    check(network, rng, extremes=True)


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize(("read_out", "hidden", "layers"), [("last", 5, 1), ("every", 0, 2), ("mean", 0, 2), ("last", 0, 1)])
def test_read_outs_dense_layers_and_stacks_have_the_reference_bits(read_out: str, hidden: int, layers: int) -> None:
    rng = np.random.default_rng(3)
    network = random_network(
        rng, "lstm", INPUTS, UNITS, "threshold", read_out, layers=layers, hidden=hidden, steps=STEPS, decimation=3, initial=True
    )
    check(network, rng)
    check(network, rng, extremes=True)
    check(network, rng, Options({"i": "4", "g": "ternary", "f": "binary"}))


@pytest.mark.usefixtures("without_compiling")
def test_rows_too_wide_for_float32_are_summed_in_int32() -> None:
    """140 inputs of the largest weights, counted 2^6-fold, reach beyond 2^24."""
    rng = np.random.default_rng(4)
    network = random_network(rng, "lstm", 140, UNITS, "threshold", "mean", steps=STEPS, decimation=2)
    rows = {name: replace(row, W=np.sign(row.W) * 3.0, R=(row.R[0] * 1e-3,)) for name, row in network.recurrent[0].rows.items()}
    network = network.with_layers((replace(network.recurrent[0], rows=rows), *network.layers[1:]))
    integers = check(network, rng, extremes=True)
    assert integers._layers[0].product_type is np.int32


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("kind", ["relu", "tanh", "hard_sigmoid"])
def test_a_mean_and_a_hidden_layer_have_the_reference_bits(kind: str) -> None:
    rng = np.random.default_rng(18)
    check(random_network(rng, "lstm", INPUTS, UNITS, "threshold", "mean", steps=STEPS, hidden=5, behind=kind), rng)


@pytest.mark.usefixtures("without_compiling")
def test_a_function_that_is_left_to_the_host_cannot_be_trained_through() -> None:
    network = random_network(np.random.default_rng(19), "lstm", INPUTS, UNITS, steps=STEPS)
    last = network.layers[-1]
    assert isinstance(last, Dense)
    squashed = network.with_layers((*network.layers[:-1], replace(last, activation=activation("sigmoid"))))
    with pytest.raises(EdgeLstmError, match="left to the host"):
        IntegerPasses(Passes(squashed, STEPS, 1), squashed, calibrate(network, np.ones((1, STEPS, INPUTS))), Options())


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("cell", sorted(family()))
def test_represented_numbers_are_the_trained_ones_to_half_a_step(cell: str) -> None:
    rng = np.random.default_rng(5)
    network = random_network(rng, cell, INPUTS, UNITS, "threshold", "mean", steps=STEPS, decimation=2)
    ranges = calibrate(network, random_input(rng, network, 8, STEPS))
    _, integers, represented = in_training(network, ranges, random_input(rng, network, BATCH, STEPS), Options())
    vector, layer = network_vector(network), network.recurrent[0]
    found, lowered = with_vector(layer, represented[integers.passes.memory[0].part]), integers._layers[0].lowered.layer
    for name, row in layer.rows.items():
        step = lowered.rows[name].scale[:, None]
        if row.W is not None:
            assert (np.abs(found.rows[name].W - row.W) <= step * 2 ** lowered.rows[name].input_shift / lowered.input_scale * 0.501).all()
        sources = next(op.args for op in layer.cell.ops if op.code == "row" and op.name == name)
        for R, old, source in zip(found.rows[name].R, row.R, sources, strict=True):
            node = layer.cell.ops[source]
            state = lowered.state(node.name if node.code == "state" else layer.cell.output)
            assert (np.abs(R - old) <= step / (state.scale * (256 if state.limit > 127 else 1)) * 0.501).all()
    assert not np.array_equal(represented, vector)
