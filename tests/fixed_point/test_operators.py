"""The integer operators against plain Python integers, and their intervals against what really happens."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from random_networks import every_member, random_counts, random_integer, random_recurrent

from edge_lstm.engine import reference
from edge_lstm.errors import EdgeLstmError
from edge_lstm.fixed_point.bounds import INT32, intervals, prove, prove_dense, prove_network, row_interval
from edge_lstm.fixed_point.formats import state_formats
from edge_lstm.fixed_point.integer_network import CODES, IntegerDense, IntegerRow, IntOp
from edge_lstm.fixed_point.lowering import lower
from edge_lstm.fixed_point.operators import INTERVAL, VALUE, interpolate, rescale, round_shift
from edge_lstm.fixed_point.rescaling import rescaling


def rounded_half_up(numerator: int, shift: int) -> int:
    """Exact: floor(numerator / 2^shift + 1/2) in rational arithmetic."""
    return math.floor((2 * numerator + 2**shift) / 2 ** (shift + 1)) if shift else numerator


def test_rounding_shift_is_half_up_for_either_sign() -> None:
    for shift in (0, 1, 3, 8, 16):
        values = np.concatenate([np.arange(-40, 41), np.random.default_rng(shift).integers(-(2**30), 2**30, 200)])
        expected = [rounded_half_up(int(v), shift) for v in values]
        assert round_shift(values, shift).tolist() == expected
    assert round_shift(np.array([1, -1, 3, -3]), 1).tolist() == [1, 0, 2, -1]


def test_rescale_clamps_before_it_multiplies() -> None:
    rng = np.random.default_rng(1)
    limit, multiplier = np.array([1000, 70000], np.int32), np.array([30000, 777], np.int32)
    v = rng.integers(-(2**31), 2**31, (50, 2))
    for row in v:
        expected = [rounded_half_up(max(-int(n), min(int(n), int(a))) * int(m), 15) for a, n, m in zip(row, limit, multiplier, strict=True)]
        assert rescale(row, limit, multiplier, 15).tolist() == expected


@pytest.mark.parametrize("ratio", [2.0**-11, 0.013, 0.9, 37.0])
@pytest.mark.parametrize("reach", [127, 8192, 32767])
def test_rescaling_constants_stay_within_32_bits_and_are_precise(ratio: float, reach: int) -> None:
    limit, multiplier, shift = rescaling(np.array([ratio]), reach)
    assert int(limit[0]) * int(multiplier[0]) + (1 << max(shift - 1, 0)) <= INT32
    v = np.linspace(-reach / ratio, reach / ratio, 201).astype(np.int64)
    exact = v * ratio
    error = np.abs(rescale(v, limit, multiplier, shift) - exact)
    assert error.max() <= 0.5 + np.abs(exact).max() * 0.5 / int(multiplier[0]) + 1e-6


def test_multipliers_are_short_where_all_keep_nine_bits() -> None:
    """A table of 16 bits for rows of like scale; 32 bits where the smallest would round away."""
    alike, apart = np.array([3.0, 40.0, 60.0]), np.array([0.01, 60.0])
    assert rescaling(alike, 32767).multiplier.max() < 2**15
    assert rescaling(alike, 32767).multiplier.min() >= 2**8
    assert rescaling(apart, 32767).multiplier.max() > 2**20
    assert rescaling(alike, 32767, 2**13).multiplier.max() < 2**13


def test_interpolation_meets_its_knots_and_is_monotone_between_them() -> None:
    knots = np.sort(np.random.default_rng(2).integers(-32767, 32768, 65)).astype(np.int16)
    s = 8
    ends = (np.arange(65) - 32) << s
    assert interpolate(ends[:-1], knots, s, 0).tolist() == knots[:-1].tolist()
    grid = np.arange(-40 << s, 40 << s, 7)
    assert (np.diff(interpolate(grid, knots, s, 0)) >= 0).all()
    k, r = 13, 100
    x = int(ends[k]) + r
    assert interpolate(np.array([x]), knots, s, 3)[0] == rounded_half_up(
        int(knots[k]) * 256 + (int(knots[k + 1]) - int(knots[k])) * r, s + 3
    )


def test_every_operator_code_has_a_value_and_an_interval() -> None:
    assert set(VALUE) == set(INTERVAL) == set(CODES) - {"row", "state", "vector"}


@pytest.mark.parametrize(("name", "gates"), every_member())
def test_no_value_ever_leaves_its_interval(name: str, gates: str) -> None:
    rng = np.random.default_rng(len(name) + len(gates))
    network = random_integer(rng, name, 4, 9, gates, squash="any")
    layer = network.recurrent[0]
    proved = intervals(layer)
    state = reference.initial_state(layer, 64)
    for t in range(40):
        x = rng.choice(np.array([-127, 127, 0]), (64, 4)) if t % 2 else rng.integers(-127, 128, (64, 4))
        state, _, values = reference.step(layer, x.astype(np.int64), state)
        for value, ((low, high), _) in zip(values, proved, strict=True):
            assert (value >= low).all()
            assert (value <= high).all()


def test_the_worst_case_of_a_row_is_attained() -> None:
    rng = np.random.default_rng(3)
    W, R = rng.integers(-127, 128, (5, 3)).astype(np.int8), rng.integers(-127, 128, (5, 5)).astype(np.int8)
    row = IntegerRow("i", W, (R,), rng.integers(-9999, 9999, 5).astype(np.int32), 2, np.ones(5))
    full = np.full(5, -127), np.full(5, 127)
    (low, high), widest = row_interval(row, [full])
    for unit in range(5):
        x, h = 127 * np.sign(W[unit].astype(int)), 127 * np.sign(R[unit].astype(int))
        assert (int(W[unit] @ x) << 2) + int(R[unit] @ h) + row.bias[unit] == high[unit]
        assert -(int(W[unit] @ x) << 2) - int(R[unit] @ h) + row.bias[unit] == low[unit]
    assert (widest[0] <= low).all()
    assert (widest[1] >= high).all()


def test_a_gate_whose_row_cannot_change_sign_is_proved_constant() -> None:
    rng = np.random.default_rng(4)
    layer = random_recurrent(rng, "lstm", 3, 4, "threshold")
    always = layer.rows["f"].b + 1000.0
    object.__setattr__(layer.rows["f"], "b", always)
    lowered = lower(layer, np.full(3, 4 / 127), state_formats(layer, {"c": 1.0, "h": 1.0})).layer
    row = next(k for k, op in enumerate(lowered.ops) if op.code == "row" and op.name == "f")
    gate = next(k for k, op in enumerate(lowered.ops) if op.code == "positive" and op.args == (row,))
    (low, high), _ = intervals(lowered)[gate]
    assert low.tolist() == high.tolist() == [1, 1, 1, 1]


def test_what_could_overflow_is_refused() -> None:
    wide = IntegerDense(np.full((2, 1000), 127, np.int8), np.zeros(2, np.int32), np.ones(2))
    assert prove_dense(wide, 127).bits == 25
    with pytest.raises(EdgeLstmError, match="more than 32"):
        prove_dense(wide, 127 * 500, 500)
    network = random_integer(np.random.default_rng(5), "lstm", 3, 4)
    layer = network.recurrent[0]
    broken = (*layer.ops[:-1], IntOp("raise", (0,), "", (17,)))
    object.__setattr__(layer, "ops", broken)
    with pytest.raises(EdgeLstmError, match="more than 32"):
        prove(layer)


def test_products_of_the_front_end_and_of_hidden_layers_are_proved_too() -> None:
    network = random_integer(np.random.default_rng(8), "lstm", 3, 4, hidden=5, decimation=4)
    prove_network(network)
    wide = np.full(3, 2**30, np.int32)
    with pytest.raises(EdgeLstmError, match=r"input rescaling.*more than 32"):
        prove_network(replace(network, normalize=replace(network.normalize, limit=wide)))
    hidden = next(layer for layer in network.layers if isinstance(layer, IntegerDense) and layer.limit is not None)
    broken = tuple(replace(layer, limit=np.full(5, 2**30, np.int32)) if layer is hidden else layer for layer in network.layers)
    with pytest.raises(EdgeLstmError, match=r"dense rescaling.*more than 32"):
        prove_network(replace(network, layers=broken))


def test_the_bounds_of_a_whole_network_cover_a_mean_over_its_window() -> None:
    network = random_integer(np.random.default_rng(6), "lstm", 3, 4, "threshold", "mean", steps=50)
    proofs = prove_network(network)
    assert proofs[1][0].high == 127 * 50
    scores = reference.run(network, random_counts(np.random.default_rng(7), network, 8, 50, extremes=True)).scores
    assert np.abs(scores).max() <= proofs[2][0].high
