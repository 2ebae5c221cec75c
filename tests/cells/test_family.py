"""Every cell against its equations, written here once more in float64 by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from random_networks import random_recurrent

from edge_lstm.cells import Activation, activation, cell, family
from edge_lstm.float_inference import run_recurrent
from edge_lstm.network import Recurrent

State = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def row(layer: Recurrent, name: str, x: np.ndarray, *sources: np.ndarray) -> np.ndarray:
    weights = layer.rows[name]
    total = weights.b + (0 if weights.W is None else x @ weights.W.T)
    return total + sum(s @ R.T for s, R in zip(sources, weights.R, strict=True))


def lstm(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i, f, o = (sigmoid(row(layer, k, x, s["h"])) for k in "ifo")
    c = f * s["c"] + i * np.tanh(row(layer, "g", x, s["h"]))
    return {"c": c, "h": o * np.tanh(c)}


def lstm_1997(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i, o = (sigmoid(row(layer, k, x, s["h"])) for k in "io")
    c = s["c"] + i * (4 * sigmoid(row(layer, "g", x, s["h"])) - 2)
    return {"c": c, "h": o * (2 * sigmoid(c) - 1)}


def lstm_1997_gate_recurrence(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i, o = (sigmoid(row(layer, k, x, s["h"], s["i"], s["o"])) for k in "io")
    c = s["c"] + i * (4 * sigmoid(row(layer, "g", x, s["h"], s["i"], s["o"])) - 2)
    return {"c": c, "h": o * (2 * sigmoid(c) - 1), "i": i, "o": o}


def lstm_1999(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i, f, o = (sigmoid(row(layer, k, x, s["h"])) for k in "ifo")
    c = f * s["c"] + i * (4 * sigmoid(row(layer, "g", x, s["h"])) - 2)
    return {"c": c, "h": o * (2 * sigmoid(c) - 1)}


def lstm_peephole(layer: Recurrent, x: np.ndarray, s: State) -> State:
    P = layer.parameters
    i, f = (sigmoid(row(layer, k, x, s["h"]) + P["P" + k] * s["c"]) for k in "if")
    c = f * s["c"] + i * np.tanh(row(layer, "g", x, s["h"]))
    return {"c": c, "h": sigmoid(row(layer, "o", x, s["h"]) + P["Po"] * c) * np.tanh(c)}


def lstm_2000(layer: Recurrent, x: np.ndarray, s: State) -> State:
    P = layer.parameters
    i, f = (sigmoid(row(layer, k, x, s["h"]) + P["P" + k] * s["c"]) for k in "if")
    c = f * s["c"] + i * (4 * sigmoid(row(layer, "g", x, s["h"])) - 2)
    return {"c": c, "h": sigmoid(row(layer, "o", x, s["h"]) + P["Po"] * c) * c}


def lstm_coupled(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i, o = (sigmoid(row(layer, k, x, s["h"])) for k in "io")
    c = (1 - i) * s["c"] + i * np.tanh(row(layer, "g", x, s["h"]))
    return {"c": c, "h": o * np.tanh(c)}


def lstm_coupled_peephole(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i = sigmoid(row(layer, "i", x, s["h"]) + layer.parameters["Pi"] * s["c"])
    c = (1 - i) * s["c"] + i * np.tanh(row(layer, "g", x, s["h"]))
    return {"c": c, "h": sigmoid(row(layer, "o", x, s["h"]) + layer.parameters["Po"] * c) * np.tanh(c)}


def lstm_no_input_gate(layer: Recurrent, x: np.ndarray, s: State) -> State:
    f, o = (sigmoid(row(layer, k, x, s["h"])) for k in "fo")
    c = f * s["c"] + np.tanh(row(layer, "g", x, s["h"]))
    return {"c": c, "h": o * np.tanh(c)}


def lstm_no_output_gate(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i, f = (sigmoid(row(layer, k, x, s["h"])) for k in "if")
    c = f * s["c"] + i * np.tanh(row(layer, "g", x, s["h"]))
    return {"c": c, "h": np.tanh(c)}


def lstm_long_lag(layer: Recurrent, x: np.ndarray, s: State) -> State:
    i, f, o = (sigmoid(row(layer, k, x, s["h"])) for k in "ifo")
    c = f * s["c"] + i * np.tanh(row(layer, "g", x, s["h"]) / 2) / 4
    return {"c": c, "h": o * np.tanh(c), "y": np.tanh(c)}


def janet(layer: Recurrent, x: np.ndarray, s: State) -> State:
    f = sigmoid(row(layer, "f", x, s["h"]))
    c = f * s["c"] + (1 - f) * np.tanh(row(layer, "g", x, s["h"]))
    return {"c": c, "h": c}


def gru(layer: Recurrent, x: np.ndarray, s: State) -> State:
    r, z = (sigmoid(row(layer, k, x, s["h"])) for k in "rz")
    n = np.tanh(row(layer, "n", x) + r * row(layer, "n_recurrent", x, s["h"]))
    return {"h": z * s["h"] + (1 - z) * n}


def gru_reset_before(layer: Recurrent, x: np.ndarray, s: State) -> State:
    r, z = (sigmoid(row(layer, k, x, s["h"])) for k in "rz")
    return {"h": z * s["h"] + (1 - z) * np.tanh(row(layer, "n", x, r * s["h"]))}


def mgu(layer: Recurrent, x: np.ndarray, s: State) -> State:
    f = sigmoid(row(layer, "f", x, s["h"]))
    return {"h": (1 - f) * s["h"] + f * np.tanh(row(layer, "n", x, f * s["h"]))}


def ugrnn(layer: Recurrent, x: np.ndarray, s: State) -> State:
    g = sigmoid(row(layer, "g", x, s["h"]))
    return {"h": g * s["h"] + (1 - g) * np.tanh(row(layer, "n", x, s["h"]))}


def rnn(layer: Recurrent, x: np.ndarray, s: State) -> State:
    return {"h": np.tanh(row(layer, "h", x, s["h"]))}


def rnn_relu(layer: Recurrent, x: np.ndarray, s: State) -> State:
    return {"h": np.maximum(0, row(layer, "h", x, s["h"]))}


def fastgrnn(layer: Recurrent, x: np.ndarray, s: State) -> State:
    a, P = row(layer, "a", x, s["h"]), layer.parameters
    z, n = sigmoid(a + P["bz"]), np.tanh(a + P["bn"])
    return {"h": (P["zeta"] * (1 - z) + P["nu"]) * n + z * s["h"]}


EQUATIONS: dict[str, Callable[[Recurrent, np.ndarray, State], State]] = {
    f.__name__: f
    for f in (
        lstm, lstm_1997, lstm_1997_gate_recurrence, lstm_1999, lstm_peephole, lstm_2000, lstm_coupled, lstm_coupled_peephole,
        lstm_no_input_gate, lstm_no_output_gate, lstm_long_lag, janet, gru, gru_reset_before, mgu, ugrnn, rnn, rnn_relu, fastgrnn,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", family())
def test_the_dataflow_computes_the_cell_s_equations(name: str) -> None:
    rng = np.random.default_rng(5)
    layer = random_recurrent(rng, name, 4, 7, initial=True)
    x = rng.normal(0, 1, (3, 9, 4))
    state = {s: np.tile(layer.initial[s], (3, 1)) for s in layer.cell.states}
    expected = []
    for t in range(9):
        state = EQUATIONS[name](layer, x[:, t], state)
        expected.append(state[layer.cell.output])
    np.testing.assert_allclose(run_recurrent(layer, x), np.stack(expected, 1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in family() if cell(n).gates])
def test_steep_sigmoid_gates_become_threshold_gates(name: str) -> None:
    """A threshold gate is the limit of a sigmoid whose preactivation is scaled up."""
    rng = np.random.default_rng(6)
    soft = random_recurrent(rng, name, 3, 5)
    gates = cell(name).gates
    hard = replace(soft, activations={**soft.activations, **dict.fromkeys(gates, Activation("threshold"))})
    steep = replace(soft, activations={**soft.activations, **dict.fromkeys(gates, activation("hard_sigmoid", alpha=1e9, beta=0.0))})
    x = rng.normal(0, 1, (2, 8, 3))
    np.testing.assert_allclose(run_recurrent(steep, x), run_recurrent(hard, x), atol=1e-12)
    assert not np.allclose(run_recurrent(soft, x), run_recurrent(hard, x), atol=1e-3)


def test_every_module_s_cells_are_in_the_family_under_their_own_name() -> None:
    assert len(family()) >= 17
    for name in family():
        assert cell(name).name == name
        assert cell(name).equations
        assert cell(name).paper
    with pytest.raises(ValueError, match=r"unknown cell 'lsmt'.*lstm"):
        cell("lsmt")


def test_a_row_over_a_vector_of_the_same_step_waits_for_all_units() -> None:
    assert max(cell("gru_reset_before").phases()) == 1
    assert max(cell("mgu").phases()) == 1
    assert max(cell("lstm_peephole").phases()) == 0


@pytest.mark.parametrize(
    "kind", ["sigmoid", "hard_sigmoid", "threshold", "three_level", "tanh", "hard_tanh", "softsign", "relu", "identity", "scaled_sigmoid"]
)
def test_activations_keep_their_bounds_and_dtype(kind: str) -> None:
    f = activation(kind)
    x = np.linspace(-50, 50, 1001)
    low, high = f.bounds
    assert (f(x) >= low).all()
    assert (f(x) <= high).all()
    assert f(x.astype(np.float32)).dtype == np.float32
    if f.saturation is not None:
        assert abs(float(f(np.array([f.saturation]))[0]) - high) < (0.06 if kind == "softsign" else 1e-3 * max(1, high))


def test_unknown_activations_and_flat_slopes_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown activation 'sigmod'"):
        activation("sigmod")
    with pytest.raises(ValueError, match="positive slope"):
        activation("hard_sigmoid", alpha=0.0)
