"""Gate activity, read off the integer dataflow, is that of the gates in the float dataflow; its fractions are those of the arrays."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import GATES, random_input, random_integer, random_network

from edge_lstm import float_inference
from edge_lstm.cells import cell, family
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Recurrent
from edge_lstm.report.activity import GateCourse, activity, course

MEMBERS = [name for name in family() if cell(name).gates]


def float_gates(layer: Recurrent, x: np.ndarray) -> dict[str, np.ndarray]:
    """Gate -> [batch, time, units] in the float cell."""
    state = float_inference.initial_state(layer, len(x), x.dtype)
    found: dict[str, list[np.ndarray]] = {gate: [] for gate in layer.cell.gates}
    for t in range(x.shape[1]):
        state, values = float_inference.step(layer, x[:, t], state)
        for op, value in zip(layer.cell.ops, values, strict=True):
            if op.code == "activate" and op.name in found:
                found[op.name].append(value)
    return {gate: np.stack(steps, 1) for gate, steps in found.items()}


@pytest.mark.parametrize("gates", [kind for kind in GATES if kind != "mixed"])
@pytest.mark.parametrize("name", MEMBERS)
def test_every_gate_is_found_and_moves_as_in_the_float_network(name: str, gates: str) -> None:
    rng = np.random.default_rng(11)
    network = random_network(rng, name, inputs=5, units=12, gates=gates, decimation=2, steps=6)
    raw = random_input(rng, network, 16, 6)
    ours = course(quantize(network, raw), raw)[0].gates
    assert network.preprocess is not None
    theirs = float_gates(network.recurrent[0], float_inference.preprocess(network.preprocess, raw))
    assert set(ours) == set(theirs)
    for gate in ours:
        assert 0 <= ours[gate].min() <= ours[gate].max() <= 1.0001
        # Integers flip a few threshold gates; a gate mistaken for another would agree in half of the cases only.
        assert np.abs(ours[gate][:, :3] - theirs[gate][:, :3]).mean() < 0.1, gate


def test_the_course_has_one_entry_a_layer_and_its_output_feeds_the_next() -> None:
    rng = np.random.default_rng(2)
    network = random_integer(rng, "lstm", 4, 7, "threshold", layers=3)
    raw = rng.integers(-3000, 3000, (3, 9, 4)).astype(np.int16)
    courses = course(network, raw)
    assert [layer.output.shape for layer in courses] == [(3, 9, 7)] * 3
    assert not np.array_equal(courses[0].output, courses[1].output)


def test_fractions_are_those_of_the_arrays() -> None:
    opening = np.zeros((1, 4, 2))
    opening[0, 1:, 0] = 1.0
    output = np.array([[[0, 5], [0, 5], [3, 5], [3, 0]]])
    found = activity(GateCourse({"i": opening}, ("i",), output))
    assert found.open == {"i": 3 / 8}
    assert found.constant == {"i": 0.5}  # the second unit's gate never moves
    assert (found.zero, found.unchanged, found.steps) == (3 / 8, 4 / 6, 4)
