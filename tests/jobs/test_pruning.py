"""Dead units leave the network without changing a bit of what it computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network

from edge_lstm import engine
from edge_lstm.engine import reference
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.pruning import constant_gates, proved_dead, visible_states
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.jobs.networks import parameters
from edge_lstm.jobs.pruning import prune
from edge_lstm.network import Network, Recurrent

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
        assert "2 of 9 units are dead, 1 proved" in remarks[0]
        assert "o always open in 0 and closed in 1 units" in remarks[0]
        assert "1 of 9 units are dead, 1 proved" in remarks[1]
    else:  # the next layer sees the cell state, whatever the output gate does
        assert first.units == UNITS - 1
    sizes = f"{parameters(integer):,} weights and biases before, {parameters(small):,} after"
    assert f"{sizes}; scores changed in 0 of 40 windows" in remarks[2]


def test_the_proof_holds_for_any_input_and_names_constant_gates() -> None:
    integer, _ = made(np.random.default_rng(2))
    layer = integer.recurrent[0]
    assert np.flatnonzero(proved_dead(layer)).tolist() == [2]
    gates = {gate.name: (gate.always_open, gate.always_closed) for gate in constant_gates(layer)}
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
