"""Every way to hard gates, every weight format and every subset of gates ends in an integer network with the accuracy that was reported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_lstm import train
from edge_lstm.cells import cell
from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.weights import gate_rows, quantize_row
from edge_lstm.network import RowWeights

X, Y = np.random.default_rng(0).normal(0, 1, (40, 6, 3)).astype(np.float32), np.random.default_rng(1).integers(0, 3, 40)
TINY: dict[str, Any] = {"hidden": 4, "iterations": 10, "batch": 8}
ALL_FORMATS = {"i": "ternary", "f": "binary", "o": 4, "candidates": "ternary", "dense": 4}


@pytest.mark.usefixtures("without_compiling")
@pytest.mark.parametrize("method", ["straight_through", "slope_annealing", "concrete", "noise"])
@pytest.mark.parametrize("gates", ["hard", "i", "o,f"])
@pytest.mark.parametrize("bits", [8, 4, {"gates": "ternary"}, ALL_FORMATS])
def test_training_reports_the_integer_networks_accuracy_exactly(method: str, gates: str, bits: Any) -> None:
    squash = "hard_tanh" if gates == "hard" else None
    recipe = train.Recipe(gates=gates, gate_method=method, weight_bits=bits, squash=squash, sparsity=0.1, **TINY)
    result = train.fit(recipe, X, Y, classes=("a", "b", "c"), validation=(X[::2] * 0.5, Y[::2]))
    assert result.integer is not None
    assert set(result.network.recurrent[0].hard_gates) == set("ifo" if gates == "hard" else gates.replace(",", ""))
    for x, y, told in ((X, Y, result.history.training), (X[::2] * 0.5, Y[::2], result.history.validation)):
        raw = np.floor(x / result.integer.normalize.units_per_count + 0.5).astype(np.int16)
        assert told is not None
        assert told.accuracy == (reference.run(result.integer, raw).scores.argmax(1) == y).mean()
    layer, head = result.integer.recurrent[0], result.integer.layers[-1]
    sizes = {name: {int(v) for v in np.concatenate([row.W.ravel(), row.R[0].ravel()])} for name, row in layer.rows.items()}
    if bits is ALL_FORMATS:
        assert sizes["i"] <= {-1, 0, 1}
        assert sizes["g"] <= {-1, 0, 1}
        assert sizes["f"] == {-1, 1}
        assert max(sizes["o"]) == 7 or min(sizes["o"]) == -7
        assert np.abs(head.W).max() == 7
    else:
        assert max(map(abs, sizes["f"])) == {8: 127, 4: 7}.get(bits if isinstance(bits, int) else 0, 1)
        assert max(map(abs, sizes["g"])) == (7 if bits == 4 else 127)


@pytest.mark.usefixtures("without_compiling")
def test_each_method_leads_to_other_weights_on_the_same_batches() -> None:
    found = []
    for method in ("straight_through", "slope_annealing", "concrete", "noise"):
        result = train.fit(train.Recipe(gate_method=method, **TINY), X, Y, classes=("a", "b", "c"))
        again = train.fit(train.Recipe(gate_method=method, **TINY), X, Y, classes=("a", "b", "c"))
        W = result.network.recurrent[0].rows["f"].W
        np.testing.assert_array_equal(W, again.network.recurrent[0].rows["f"].W)
        found.append(W)
    assert len({W.tobytes() for W in found}) == 4


def test_ternary_rows_are_those_of_the_paper_and_share_one_unit() -> None:
    """Li, Zhang & Liu 2016: 0 below 0.7 of the mean magnitude, else the sign times the mean magnitude of what is left."""
    rng = np.random.default_rng(0)
    R, b = rng.normal(0, 1, (5, 64)), rng.normal(0, 1, 5)
    row = quantize_row("f", RowWeights(None, (R,), b), np.ones(1), [0.01], "ternary", np.zeros(5))
    kept = np.abs(R) > 0.7 * np.abs(R).mean(1, keepdims=True)
    np.testing.assert_array_equal(row.R[0], np.sign(R) * kept)
    np.testing.assert_allclose(row.scale, 0.01 * (np.abs(R) * kept).sum(1) / kept.sum(1))
    np.testing.assert_array_equal(row.bias, np.floor(b / row.scale + 0.5))
    # W sixteen times as large: counted 2^4-fold, the unit is the same
    both = quantize_row("f", RowWeights(16 * R, (R,), b), np.full(64, 0.01), [0.01], "ternary", np.zeros(5))
    assert both.input_shift == 4
    np.testing.assert_array_equal(both.W, both.R[0])
    np.testing.assert_allclose(both.scale, row.scale)


def test_binary_rows_are_signs_times_the_mean_magnitude() -> None:
    W = np.random.default_rng(0).normal(0, 1, (5, 7))
    row = quantize_row("f", RowWeights(W, (), np.zeros(5)), np.full(7, 0.5), [], "binary", np.zeros(5))
    np.testing.assert_array_equal(row.W, np.sign(W))
    np.testing.assert_allclose(row.scale, 0.5 * np.abs(W).mean(1))


def test_gate_rows_are_those_that_only_gates_read() -> None:
    assert gate_rows(cell("lstm_peephole")) == ("i", "f", "o")
    assert gate_rows(cell("gru")) == ("r", "z")
    assert gate_rows(cell("fastgrnn")) == ()  # its one row is read by the candidate too


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gates": "i,q"}, "has no gate q"),
        ({"gate_method": "gumbel"}, "unknown gate method 'gumbel'"),
        ({"gate_method": "concrete", "gates": "soft"}, "no gate is hard"),
        ({"gate_method": "concrete", "relax_until": 1.0}, "relax_until must lie between 0 and 1"),
        ({"gate_method": "concrete", "integer_from": 0.5}, "integer_from 0.5 comes before thresholds are hard"),
        ({"weight_bits": 5}, "weights of 5 bits"),
        ({"weight_bits": {"q": 4}}, "no weight matrix q; it has gates, candidates, dense, i, f, g, o"),
        ({"weight_bits": "binary"}, "row g takes 8, 4 or ternary"),
        ({"weight_bits": {"dense": "ternary"}}, "ternary weights for the dense layers"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeLstmError, match=message):
        train.Recipe(**changes)
