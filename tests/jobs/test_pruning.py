"""Dead units leave the network without changing a bit of what it computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network
from toy_commands import CHANNELS

from edge_lstm import data, engine, onnx_io
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import prove_network
from edge_lstm.fixed_point.folding import folded, proved_constant
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.pruning import proved_dead, visible_states
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs.comparison import compare
from edge_lstm.jobs.networks import parameters
from edge_lstm.jobs.pruning import prune, pruned
from edge_lstm.jobs.verification import verify
from edge_lstm.network import Network, Recurrent
from edge_lstm.report import page

UNITS = 9


def with_biases(network: Network, layer: int, row: str, units: list[int], bias: float) -> Network:
    """The network with the bias of a row in some units."""
    old = network.layers[layer]
    assert isinstance(old, Recurrent)
    b = old.rows[row].b.copy()
    b[units] = bias
    changed = replace(old, rows={**old.rows, row: replace(old.rows[row], b=b)})
    return network.with_layers((*network.layers[:layer], changed, *network.layers[layer + 1 :]))


def made(rng: np.random.Generator, cell: str = "lstm", layers: int = 2) -> tuple[IntegerNetwork, np.ndarray]:
    """A network two of whose units in the first layer, and one in the second, never give anything; and counts."""
    network = random_network(rng, cell, 4, UNITS, "threshold", "mean", layers=layers, steps=12, decimation=1)
    network = with_biases(network, 0, "o", [2], -1000.0)  # the output gate is closed for any input
    network = with_biases(network, 0, "i", [5], -1000.0)  # nothing ever enters
    network = with_biases(network, 1, "o", [0], -1000.0)
    integer = quantize(network, random_input(rng, network, 8, 12))
    return integer, random_counts(rng, integer, 20, 12)


@pytest.mark.parametrize("cell", ["lstm", "lstm_long_lag"])
def test_the_scores_keep_every_bit_and_the_network_shrinks(cell: str) -> None:
    rng = np.random.default_rng(1)
    integer, raw = made(rng, cell)
    extremes = random_counts(rng, integer, 20, 12, extremes=True)
    small, remarks = prune(integer, np.concatenate([raw, extremes]))
    for x in (raw, extremes):
        np.testing.assert_array_equal(reference.run(small, x).scores, reference.run(integer, x).scores)
        np.testing.assert_array_equal(engine.run(small, x).scores, reference.run(small, x).scores)
    assert parameters(small) < parameters(integer)
    first, second = small.recurrent
    if cell == "lstm":
        assert (first.units, second.units) == (UNITS - 2, UNITS - 1)
        assert second.inputs == UNITS - 2
        assert "o always open in 0 and closed in 1 units (1 proved)" in remarks[0]
        assert "2 of 9 units are dead, 2 by proof" in remarks[2]  # with i closed the cell state is 0
        assert "1 of 9 units are dead, 1 by proof" in remarks[3]
    else:  # the next layer sees the cell state, whatever the output gate does
        assert first.units == UNITS - 1
    sizes = f"{parameters(integer):,} weights and biases before, {parameters(small):,} after"
    assert sizes in remarks[-2]
    assert "scores changed in 0 of 40 windows" in remarks[-2]


def test_the_proof_holds_for_any_input_and_names_constant_gates() -> None:
    integer, _ = made(np.random.default_rng(2))
    layer = integer.recurrent[0]
    assert np.flatnonzero(proved_dead(layer)).tolist() == [2, 5]  # with i closed the cell state is 0 for ever
    gates = {name: (int(gate.opened.sum()), int(gate.closed.sum())) for name, gate in proved_constant(layer).items()}
    assert gates == {"i": (0, 1), "f": (0, 0), "o": (0, 1)}
    assert visible_states(layer) == ("h",)


def test_living_units_stay_and_one_unit_always_does() -> None:
    rng = np.random.default_rng(3)
    network = random_network(rng, "lstm", 4, UNITS, "threshold", "last", steps=12, decimation=1)
    integer = quantize(network, random_input(rng, network, 8, 12))
    raw = random_counts(rng, integer, 20, 12)
    assert prune(integer, raw)[0].recurrent[0].units == UNITS
    silent = with_biases(network, 0, "o", list(range(UNITS)), -1000.0)
    integer = quantize(silent, random_input(rng, silent, 8, 12))
    small, _ = prune(integer, raw)
    assert small.recurrent[0].units == 1
    np.testing.assert_array_equal(reference.run(small, raw).scores, reference.run(integer, raw).scores)


ALL = list(range(UNITS))
FOLDS = [("lstm", "o", 1.0), ("lstm", "f", -1.0), ("lstm", "i", 1.0), ("lstm_coupled", "i", 1.0), ("gru", "z", -1.0), ("mgu", "f", 1.0)]


def with_one_gate(cell: str, gate: str, sign: float) -> IntegerNetwork:
    """A network one of whose gates is always open (1) or closed (-1), in every unit."""
    rng = np.random.default_rng(5)
    network = random_network(rng, cell, 4, UNITS, "threshold", "mean", steps=12, decimation=1)
    network = with_biases(network, 0, gate, ALL, 1000 * sign)
    return quantize(network, random_input(rng, network, 8, 12))


@pytest.mark.parametrize(("cell", "gate", "sign"), FOLDS)
def test_a_gate_that_never_changes_leaves_with_its_row_and_no_bit_changes(cell: str, gate: str, sign: float) -> None:
    integer = with_one_gate(cell, gate, sign)
    layer = folded(integer.recurrent[0], proved_constant(integer.recurrent[0]))
    assert gate not in layer.rows
    assert layer.activations[gate] == f"threshold, always {'open' if sign > 0 else 'closed'}"
    small = replace(integer, layers=(layer, *integer.layers[1:]))
    prove_network(small)
    for extremes in (False, True):
        raw = random_counts(np.random.default_rng(1), integer, 20, 12, extremes=extremes)
        wanted, came = reference.run(integer, raw, states=True), reference.run(small, raw, states=True)
        np.testing.assert_array_equal(came.scores, wanted.scores)
        for name, values in wanted.states[0].items():
            np.testing.assert_array_equal(came.states[0][name], values)


def test_what_is_folded_runs_alike_in_every_engine_and_is_read_back(tmp_path: Path) -> None:
    """NumPy, Numba, ONNX Runtime and C, of a layer without its output gate."""
    integer = with_one_gate("lstm", "o", 1.0)
    raw = random_counts(np.random.default_rng(1), integer, 20, 12, extremes=True)
    small, remarks = prune(integer, raw)
    assert f"o always open in {UNITS} and closed in 0 units ({UNITS} proved), so its row is gone" in remarks[0]
    wanted = reference.run(integer, raw)
    checks = verify(small, sequences=8)
    assert checks.differing == 0
    assert checks.values > 1000
    onnx_io.save_integer(small, tmp_path / "m.int.onnx")
    written = onnx_io.load(tmp_path / "m.int.onnx")
    assert isinstance(written, IntegerNetwork)
    np.testing.assert_array_equal(reference.run(written, raw).scores, wanted.scores)


def test_a_gate_constant_in_some_units_loses_its_weights_there_and_one_only_seen_so_is_said_to_be() -> None:
    rng = np.random.default_rng(6)
    network = random_network(rng, "lstm", 4, UNITS, "threshold", "mean", steps=12, decimation=1)
    network = with_biases(network, 0, "f", [1, 4], 1000.0)
    integer = quantize(network, random_input(rng, network, 8, 12))
    layer = folded(integer.recurrent[0], proved_constant(integer.recurrent[0]))
    assert np.flatnonzero((layer.rows["f"].W == 0).all(1) & (layer.rows["f"].R[0] == 0).all(1)).tolist() == [1, 4]
    assert layer.rows["f"].bias[[1, 4]].tolist() == [1, 1]
    raw = random_counts(rng, integer, 20, 12, extremes=True)
    made = replace(integer, layers=(layer, *integer.layers[1:]))
    for name, values in reference.run(integer, raw, states=True).states[0].items():
        np.testing.assert_array_equal(reference.run(made, raw, states=True).states[0][name], values)
    still = np.repeat(raw[:1, :1], 12, axis=1)  # in one constant window more gates are constant than can be proved
    small, remarks = prune(integer, still)
    assert "were seen to be constant on all 1 windows, and may differ on others" in remarks[0]
    np.testing.assert_array_equal(reference.run(small, still).scores, reference.run(integer, still).scores)
    assert np.count_nonzero(small.recurrent[0].rows["f"].W if "f" in small.recurrent[0].rows else 0) < np.count_nonzero(layer.rows["f"].W)


def test_the_report_shows_what_the_network_took_before() -> None:
    rng = np.random.default_rng(7)
    integer, raw = made(rng)
    small, remarks = prune(integer, raw)
    before = pruned("small", small.metadata)
    assert before is not None
    assert before.remarks == remarks
    channels = (*CHANNELS, "w")
    recordings = tuple(data.Recording(x, None, "", str(k)) for k, x in enumerate(raw))
    dataset = data.Dataset("counts", recordings, channels, (), None, np.ones(4), "made by the test")
    text = page.render(compare({"small": small}, dataset, rounds=1))
    assert "small, before pruning" in text
    assert "weights and biases before" in text
    with pytest.raises(EdgeLstmError, match="damaged or was edited"):
        pruned("small", {"pruning": "{}"})
