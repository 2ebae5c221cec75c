"""Units that are zero at the same steps become neighbours; the order travels with the model, and lost units leave it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_integer, random_network

from edge_lstm import onnx_io
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.integer_network import IntegerNetwork, IntegerRecurrent
from edge_lstm.fixed_point.pruning import without_units
from edge_lstm.fixed_point.unit_order import TILE, co_active, unit_orders


def busy_tiles(busy: np.ndarray, order: tuple[int, ...], size: int) -> float:
    return float(busy[:, list(order)].reshape(len(busy), -1, size).any(2).mean())


def test_units_that_fire_together_share_tiles() -> None:
    """Ten groups of four, each with steps of its own, in mixed order: no tile is then busy for more than its own steps."""
    rng = np.random.default_rng(0)
    groups = rng.random((3000, 10)) < 0.3
    mixed = rng.permutation(40)
    busy = np.repeat(groups, TILE, axis=1)[:, mixed]
    order = co_active(busy)
    assert sorted(order) == list(range(40))
    for size in (2, TILE):
        assert busy_tiles(busy, order, size) == groups.mean() < busy_tiles(busy, tuple(range(40)), size)


def test_other_steps_than_those_counted_gain_too() -> None:
    rng = np.random.default_rng(1)
    hidden = rng.random((6000, 8)) < 0.15
    weights = rng.random((8, 64)) < 0.2
    busy = (hidden @ weights) | (rng.random((6000, 64)) < 0.05)
    order = co_active(busy[:3000])
    assert busy_tiles(busy[3000:], order, TILE) < 0.85 * busy_tiles(busy[3000:], tuple(range(64)), TILE)


def test_layers_that_never_rest_stay_as_they_are() -> None:
    rng = np.random.default_rng(2)
    assert co_active(rng.random((100, 32)) < 0.9) == ()
    for gates, units in (("sigmoid", 40), ("threshold", 16)):
        network = random_network(rng, "lstm", 5, units, gates)
        assert not any(unit_orders(network, rng.normal(0, 1, (4, 30, 5))))


def ordered() -> IntegerNetwork:
    network = random_integer(np.random.default_rng(3), "lstm", 5, 40, "threshold")
    assert sorted(network.recurrent[0].order) == list(range(40))
    return network


def with_order(network: IntegerNetwork, order: tuple[int, ...]) -> IntegerNetwork:
    return replace(network, layers=tuple(replace(one, order=order) if isinstance(one, IntegerRecurrent) else one for one in network.layers))


def test_the_order_travels_with_the_model(tmp_path: Path) -> None:
    network = ordered()
    onnx_io.save_integer(network, tmp_path / "m.onnx")
    found = onnx_io.load(tmp_path / "m.onnx")
    assert isinstance(found, IntegerNetwork)
    assert found.recurrent[0].order == network.recurrent[0].order


def test_an_order_that_misses_a_unit_is_refused(tmp_path: Path) -> None:
    network = ordered()
    onnx_io.save_integer(with_order(network, (0, *network.recurrent[0].order[1:-1], 0)), tmp_path / "m.onnx")
    with pytest.raises(EdgeLstmError, match="order of its units"):
        onnx_io.load(tmp_path / "m.onnx")


def test_units_that_are_pruned_leave_the_order() -> None:
    network = ordered()
    dead = np.zeros(40, bool)
    dead[[3, 17, 39]] = True
    order = network.recurrent[0].order
    shorter = without_units(network, [dead if isinstance(one, IntegerRecurrent) else None for one in network.layers]).recurrent[0].order
    kept = np.flatnonzero(~dead)
    assert [int(kept[unit]) for unit in shorter] == [unit for unit in order if not dead[unit]]
