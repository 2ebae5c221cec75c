"""The work that training measures is the work that the engine counts; a target for it is met, and pushes no harder than it must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_counts, random_input, random_network

from edge_lstm import train
from edge_lstm.engine import reference
from edge_lstm.engine.gate_activity import course
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.quantize import Options, calibrate, quantize_with_ranges
from edge_lstm.network import Preprocess
from edge_lstm.train.integer_passes import IntegerPasses
from edge_lstm.train.parameters import network_vector, with_network_vector
from edge_lstm.train.passes import Passes
from edge_lstm.train.work import products_left

BATCH, STEPS, INPUTS, UNITS = 7, 11, 5, 6


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("cell", ["lstm", "lstm_coupled", "lstm_1997", "lstm_no_output_gate", "janet"])
@pytest.mark.parametrize("layers", [1, 2])
def test_products_left_are_those_that_the_engine_counts(cell: str, layers: int) -> None:
    rng = np.random.default_rng(layers)
    network = random_network(rng, cell, INPUTS, UNITS, "threshold", "last", layers=layers, steps=STEPS, decimation=2)
    network = with_network_vector(network, network_vector(network))
    ranges = calibrate(network, random_input(rng, network, 8, STEPS))
    integer = quantize_with_ranges(network, ranges, Options())
    raw = random_counts(rng, integer, BATCH, STEPS)
    passes = Passes(network, STEPS, BATCH)
    integers = IntegerPasses(passes, network, ranges, Options())
    integers.refresh(network_vector(network))
    x8 = np.ascontiguousarray(reference.normalize(integers.normalize, raw).transpose(1, 2, 0))
    integers.integer_scores(x8, (x8 * integers.input_scale[:, None]).astype(np.float32), np.full(BATCH, STEPS))
    sizes = [len(layer.cell.rows) * layer.units * (layer.inputs + layer.units) for layer in network.recurrent]
    counted = np.array([one.products_left for one in course(integer, raw)], np.float64)
    assert products_left(passes, np.ones((STEPS, BATCH))) == pytest.approx(np.average(counted, weights=sizes), abs=1e-12)
    assert counted.min() < 0.999  # something is skipped


def rising(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """int16 counts [n, samples, 2] whose first channel falls, stays or rises, in noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 120)
    ramp = (y[:, None] - 1) * np.linspace(-500, 500, 24)
    return np.round(np.stack([ramp, np.zeros_like(ramp)], 2) + rng.normal(0, 200, (120, 24, 2))).astype(np.int16), y


def test_a_target_is_met_and_what_meets_it_anyway_is_left_alone() -> None:
    x, y = rising(0)
    free = train.Recipe(hidden=8, iterations=600, batch=16, seed=3)
    found = {}
    for recipe in (free, replace(free, work_target=0.35), replace(free, work_target=1.0)):
        result = train.fit(recipe, x, y, classes=("a", "b", "c"), preprocess=Preprocess(2, np.zeros(2), np.full(2, 1 / 300)))
        assert result.integer is not None
        assert result.history.training.accuracy > 0.9
        found[recipe.work_target] = result, course(result.integer, x)[0].products_left
    assert found[None][1] > 0.45
    assert found[0.35][1] == pytest.approx(0.35, abs=0.03)
    assert np.array_equal(network_vector(found[1.0][0].network), network_vector(found[None][0].network))


def test_a_target_takes_the_place_of_a_schedules_fixed_weight() -> None:
    assert train.Recipe.of("long_lag").sparsity
    assert train.Recipe.of("long_lag", work_target=0.3).sparsity == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"work_target": 0.0}, "above 0 and at most at 1"),
        ({"work_target": 0.3, "sparsity": 0.1}, "give one of them"),
        ({"work_target": 0.3, "gates": "soft"}, "none of i, o is hard"),
        ({"work_target": 0.3, "cell": "janet"}, "sparsity is asked of i, o, but janet has the gates f"),
    ],
)
def test_targets_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        train.Recipe(**changes)
