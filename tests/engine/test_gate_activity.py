"""Gate activity is that of the gates in the float dataflow, and what a direct count over the reference engine finds."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import GATES, random_counts, random_input, random_integer, random_network

from edge_lstm import float_inference
from edge_lstm.cells import cell, family
from edge_lstm.engine import reference
from edge_lstm.engine.gate_activity import GateCourse, activity, course
from edge_lstm.engine.gates import gate_operators
from edge_lstm.fixed_point.integer_network import IntegerNetwork
from edge_lstm.fixed_point.quantize import quantize
from edge_lstm.network import Recurrent

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


def counted(network: IntegerNetwork, raw: np.ndarray) -> list[dict[str, object]]:
    """The hard-gated LSTM, counted product by product from its equations: i, f, o open or closed, c' = f c + i g, h' = o h(c')."""
    x = reference.normalize(network.normalize, raw).astype(np.int64)
    found = []
    for layer in network.recurrent:
        gates = {gate: index for gate, (index, _) in gate_operators(layer).items()}
        state = reference.initial_state(layer, len(x))
        opened = {gate: np.zeros(layer.units, int) for gate in gates}
        left = products = 0
        outputs = []
        for t in range(x.shape[1]):
            h = state["h"]
            state, output, values = reference.step(layer, x[:, t], state)
            for gate, index in gates.items():
                opened[gate] += values[index].sum(0)
            columns = (x[:, t] != 0).sum(1) + (h != 0).sum(1)
            lazy = values[gates["i"]].sum(1)
            left += int((columns * (3 * layer.units + lazy)).sum())
            products += len(x) * 4 * layer.units * (layer.inputs + layer.units)
            outputs.append(output)
        steps = x.shape[0] * x.shape[1]
        x = np.stack(outputs, 1)
        found.append(
            {
                "open": {gate: opened[gate].sum() / steps / layer.units for gate in gates},
                "constant": {gate: np.isin(opened[gate], [0, steps]).mean() for gate in gates},
                "products_left": left / products,
                "unchanged": (x[:, 1:] == x[:, :-1]).mean(),
                "zero": (x == 0).mean(),
            }
        )
    return found


@pytest.mark.parametrize("layers", [1, 2])
def test_activity_of_a_hard_lstm_is_what_counting_finds(layers: int) -> None:
    rng = np.random.default_rng(layers)
    network = random_integer(rng, "lstm", 4, 11, "threshold", layers=layers)
    raw = random_counts(rng, network, 5, 20)
    for layer, wanted in zip(course(network, raw), counted(network, raw), strict=True):
        came = activity(layer)
        assert came.open == pytest.approx(wanted["open"])
        assert came.constant == pytest.approx(wanted["constant"])
        assert came.hard == ("i", "f", "o")
        for what in ("products_left", "unchanged", "zero"):
            assert getattr(came, what) == pytest.approx(wanted[what]), what
        assert came.steps == 100


def test_soft_gates_leave_all_rows_needed() -> None:
    rng = np.random.default_rng(3)
    network = random_integer(rng, "lstm", 4, 9, "sigmoid")
    soft = activity(course(network, random_counts(rng, network, 3, 20))[0])
    assert soft.hard == ()
    assert all(0.2 < share < 0.8 for share in soft.open.values())
    assert soft.products_left == pytest.approx(1, abs=0.2)


def test_the_window_of_a_mean_may_be_exceeded() -> None:
    rng = np.random.default_rng(6)
    network = random_integer(rng, "lstm", 4, 9, "threshold", "mean", steps=10)
    assert activity(course(network, random_counts(rng, network, 2, 25))[0]).steps == 50


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
